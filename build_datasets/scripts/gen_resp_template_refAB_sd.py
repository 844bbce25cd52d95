"""Long answers about two pictures and their reference from labels and measurements (one distortion each).

PYTHONPATH=./ python scripts/gen_resp_template_refAB_sd.py --help
"""

from build_datasets.dq495k.responses import template_command

if __name__ == "__main__":
    template_command("refAB")
