"""Score files by the million: `python -m batch --input PLACE --output FOLDER --model FOLDER`. docs/batch.md says more.

Started again, it goes on where it ended, whatever ended it.
"""

import argparse
import json
import sys
from pathlib import Path


def main() -> None:
    """Read the command line and run; exit with 1 where the job cannot run or did not finish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--input", required=True, help="a folder, a prefix such as s3://bucket/photos, or a .parquet with a column path"
    )
    parser.add_argument("--output", required=True, help="a folder or prefix for the parts")
    parser.add_argument("--model", required=True, type=Path, help="what archive_scripts.prepare makes of a release")
    parser.add_argument("--processes", type=int, default=2, help="each with a model of its own and one core")
    parser.add_argument("--shard-size", type=int, default=500, help="files of one part")
    parser.add_argument("--report", type=Path, help="write counts and rates of this run there, as JSON")
    arguments = parser.parse_args()
    if arguments.processes < 1 or arguments.shard_size < 1:
        parser.error("--processes and --shard-size are at least 1")
    try:
        from batch.job import run
        from batch.manifest import JobError
    except ImportError as error:
        sys.exit(f"The engine is not installed ({error}): python -m pip install -c constraints.txt -e '.[batch]'")
    try:
        done = run(
            arguments.input, arguments.output, arguments.model, arguments.processes, arguments.shard_size,
            report=lambda line: print(line, flush=True),
        )  # fmt: skip
    except (JobError, ValueError, OSError) as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        sys.exit("Stopped. The same command goes on.")
    print(
        f"Every file has its row. This run: {done.files:,} files, {done.errors:,} errors, "
        f"{done.files_per_second:.1f} files/s in {done.processes} process(es), {done.seconds:.0f} s with its start."
    )
    if arguments.report:
        arguments.report.write_text(json.dumps(done.as_json()))


if __name__ == "__main__":
    main()
