"""`shipway launch`: `launch_add` from the shell."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from shipway.cli.output import as_json, emit, note, say
from shipway.domain.errors import Invalid
from shipway.domain.names import DEFAULT_QUEUE


@click.command()
@click.option("-u", "--uri", help="A directory, a git repository's address, or a run.")
@click.option("-j", "--job", help="entity/project/name:alias")
@click.option("-d", "--docker-image", help="An image to run as it is.")
@click.option("-q", "--queue", help="Which queue; default: default.")
@click.option("--project-queue", help="The queue's project; default: model-registry.")
@click.option("-p", "--project", help="The project that the run goes to.")
@click.option("-e", "--entity", help="Whose run it is.")
@click.option("-n", "--name", help="The run's display name.")
@click.option("-g", "--version", help="Branch, tag or commit of a git address.")
@click.option("-E", "--entry-point", help="The program, as one would type it; default: main.py.")
@click.option("-r", "--resource", help="local-process, local-container, ….")
@click.option("-R", "--resource-args", help="JSON, or a file with it: {resource: {…}}.")
@click.option("-c", "--config", help="JSON, or a file with it: run config and spec keys.")
@click.option("-v", "--set-var", multiple=True, metavar="K=V", help="A queue's template variable.")
@click.option("-P", "--priority", help="critical, high, medium or low; 0-3.")
@click.option("--parameter", multiple=True, metavar="K=V", help="Given as --K V, and in config.")
@click.option("--run-id", help="The run's id; default: a new one.")
@click.option("--author", help="A label; default: your own name.")
@click.option("--include", multiple=True, metavar="PATH", help="Pack it although it is ignored.")
@click.option("--build", is_flag=True, help="Build the code's image here first, and run that.")
@click.option("--repository", help="Where an image is pushed to: HOST/PATH.")
@click.option("--refresh", is_flag=True, help="Resolve an unlocked environment anew.")
@click.option("--idempotency-key", help="The same key adds the same item, once.")
@click.option("--follow", is_flag=True, help="Print its log and exit with the program's code.")
@click.option("--dry-run", is_flag=True, help="Show what would be queued; not in this release.")
@as_json
def launch(*, follow: bool, is_json: bool, **options: Any) -> int:
    """Put a program on a queue.

    With --follow, the exit code is the program's: 128+n for a signal, 70 if it was not started,
    75 if its agent was lost, 124 at its time limit, 130 for Ctrl-C (the run lives on).
    """
    from shipway.sdk.launch import launch_add  # noqa: PLC0415 - `--help` needs no SDK

    words = options.pop("set_var")
    given = arguments(options)
    if words:
        given["template_variables"] = _template_values(words, options)
    queued = launch_add(**given)
    for sentence in queued.notes:
        note(f"shipway: {sentence}")
    if follow:
        return _follow(queued, is_json=is_json)
    if is_json:
        from shipway.cli.connection import connect  # noqa: PLC0415 - only for the whole item

        emit(connect().items.get(queued.id))
    else:
        say(f"{queued.id} waits in queue {queued.queue_name}: {queued.url}")
    return 0


def arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of `launch_add` that the options stand for."""
    given = {name: value for name, value in options.items() if value not in (None, (), False)}
    if "parameter" in given:
        given["parameters"] = pairs(given.pop("parameter"), field="--parameter")
    for name in ("resource_args", "config"):
        if name in given:
            given[name] = read_json(given[name], field="--" + name.replace("_", "-"))
    if "entry_point" in given:
        given["entry_point"] = shlex.split(given["entry_point"])
    if "include" in given:
        given["include"] = list(given["include"])
    if "priority" in given and given["priority"].isdecimal():
        given["priority"] = int(given["priority"])
    return given


def _template_values(words: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a queue's variables, of the types that the queue declares."""
    from shipway.cli.connection import connection  # noqa: PLC0415 - only to ask for the queue
    from shipway.cli.template_values import split_words, typed  # noqa: PLC0415 - as above

    texts = split_words(words)
    line = connection()
    job = options.get("job") or ""
    queue = line.client.queues.get(
        options.get("queue") or line.settings.queue or DEFAULT_QUEUE,
        entity=options.get("entity") or (job.partition("/")[0] if job else line.settings.entity),
        project=options.get("project_queue"),
    )
    return typed(texts, queue)


def pairs(words: tuple[str, ...], *, field: str) -> dict[str, Any]:
    """Read `key=value` words; a value that is JSON keeps its type, anything else is text."""
    found: dict[str, Any] = {}
    for word in words:
        key, is_pair, value = word.partition("=")
        if not key or not is_pair:
            raise Invalid(f"{field} {word!r} is not KEY=VALUE", field=field, value=word)
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def read_json(text: str, *, field: str) -> dict[str, Any]:
    """Read a JSON object from an argument, or from the file that it names."""
    source = "it"
    if not text.lstrip().startswith("{"):
        source = text
        try:
            text = Path(text).read_text()
        except OSError as error:
            raise Invalid(
                f"{field} {source!r} is neither a JSON object nor a file that can be read "
                f"({error.strerror})",
                field=field,
                value=source,
            ) from None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Invalid(f"{field}: {source} is not JSON: {error}", field=field) from None
    if not isinstance(value, dict):
        raise Invalid(f"{field} must be a JSON object, not {value!r}", field=field, value=value)
    return value


def _follow(queued: Any, *, is_json: bool) -> int:
    from shipway.cli.connection import connect  # noqa: PLC0415 - only to follow
    from shipway.cli.exit_code import INTERRUPTED, exit_code_of  # noqa: PLC0415 - only to follow
    from shipway.cli.log import follow, printer  # noqa: PLC0415 - only to follow
    from shipway.sdk.refusal import unsaid  # noqa: PLC0415 - only to follow

    note(f"{queued.id} waits in queue {queued.queue_name}: {queued.url}")
    try:
        item = follow(connect(), queued.id, printer(is_all_on_stderr=is_json))
    except KeyboardInterrupt:
        note(f"\n{queued.id} goes on; stop it with: shipway item cancel {queued.id}")
        return INTERRUPTED
    sys.stdout.flush()
    if is_json:
        emit(item)
    error = item.get("error")
    if error:
        # the lines of a build are not among those that were followed
        tail = [] if error["stage"] == "run" else unsaid(error)
        if tail:
            note("\n".join(f"  {line}" for line in tail))
        note(f"shipway: {item['state']} at stage {error['stage']}: {error['reason']}")
        if error.get("remedy"):
            note(f"shipway: {error['remedy'].replace(' ID', ' ' + queued.id)}")
    else:
        note(f"shipway: {queued.id} is {item['state']}")
    return exit_code_of(item)
