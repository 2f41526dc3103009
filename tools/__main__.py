"""`python -m tools VERB`; `python -m tools VERB --help` explains one."""

import importlib
import sys

VERBS = (
    "baseline",
    "benchmark",
    "catalogue",
    "crossvalidate",
    "demo",
    "evaluate",
    "explain",
    "export",
    "pack",
    "phantom",
    "prepare",
    "probe",
    "release",
    "report",
    "samples",
    "ship",
    "verify",
)


def main() -> None:
    """Import only the module of the verb that is asked for, so that `--help` is quick and needs no extra."""
    import fire

    if len(sys.argv) < 2 or sys.argv[1] not in VERBS:
        raise SystemExit(f"usage: python -m tools VERB ...\nverbs: {', '.join(VERBS)}\nhelp:  python -m tools VERB --help")
    verb, words = sys.argv[1], sys.argv[2:]
    if "--help" in words:  # fire takes it for an option where a verb passes options on
        words = [word for word in words if word != "--help"] + ["--", "--help"]
    component = getattr(importlib.import_module(f"tools.{verb}"), verb)
    try:
        fire.Fire(component, command=words, name=f"python -m tools {verb}")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(f"{verb}: {error}") from error


if __name__ == "__main__":
    main()
