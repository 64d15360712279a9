"""The LLM judge: what it asks, how it reads the replies, and what it counts.

A prompt is a Jinja template that is rendered in a sandbox into a system and a user message. Texts
of the data set appear only behind fences (see `fences`). The user message of the shipped prompts:

```
=== k7qx3d2m query ===
how do vaccines work
=== k7qx3d2m end ===
=== k7qx3d2m reference 1 ===          (prompt relevant_set only: source positives)
Vaccines train the immune system.
=== k7qx3d2m end ===
=== k7qx3d2m passage 1 ===
An enzyme is a protein.
=== k7qx3d2m passage 2 ===
A vaccine shows the body a harmless part of a germ.
=== k7qx3d2m end ===
```

The reply is one JSON object, in the prompt's form (see `reply_forms`):

- grades (`umbrela`, `binary`, custom prompts): `{"1": 0, "2": 3}`, with explanations
  `{"1": {"reason": "...", "grade": 0}, ...}`
- relevant set (`relevant_set`): `{"relevant": [2]}`, with an explanation
  `{"reason": "...", "relevant": [2]}`

The path of a reply: `llm.client` → `judge` → `parsing` → `reply_forms` → `query_result` →
`Verdicts`.
"""
