"""What a language model is asked, and how it answers.

A prompt is a Jinja template that is rendered in a sandbox, into a system and a user message. Texts
of the data set reach it only inside fences, lines with a code that no text of the call contains
(see `fences`). The user message of the shipped prompts:

```
=== k7qx3d2m query ===
how do vaccines work
=== k7qx3d2m end ===
=== k7qx3d2m reference 1 ===          (prompt relevant_set alone: source positives)
Vaccines train the immune system.
=== k7qx3d2m end ===
=== k7qx3d2m passage 1 ===
An enzyme is a protein.
=== k7qx3d2m passage 2 ===
A vaccine shows the body a harmless part of a germ.
=== k7qx3d2m end ===
```

The answer is one JSON object. Which one, a prompt's *form* decides (see `replies`):

- grades (`umbrela`, `binary`, own prompts): `{"1": 0, "2": 3}`, with reasons `{"1": {"reason":
  "...", "grade": 0}, ...}`
- set (`relevant_set`): the numbers of the relevant passages, `{"relevant": [2]}`, with reasons
  `{"reason": "...", "relevant": [2]}`

An answer that cannot be used is followed by the answer itself (assistant) and one more user message
without fences: the asked texts stand in the first user message, always. `fences.read(messages)`
takes such messages apart, and a form's `write(grades)` answers them.
"""
