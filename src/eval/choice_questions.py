"""Questions for infer.py: `python choice_questions.py --gt_path benchmark.json --save_path meta.json`."""

from depictqa.evaluation.commands import choice_questions_command

if __name__ == "__main__":
    choice_questions_command()
