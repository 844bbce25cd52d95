"""One page over a folder of answers: `python report.py --answers A --gt_paths G... --save_path report.html`."""

from depictqa.evaluation.commands import report_command

if __name__ == "__main__":
    report_command()
