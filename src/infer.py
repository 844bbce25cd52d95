"""Answer the questions of meta files: `python src/infer.py --cfg config.yaml --meta_path ... --task_name ...`."""

from depictqa.commands import infer_command

if __name__ == "__main__":
    infer_command()
