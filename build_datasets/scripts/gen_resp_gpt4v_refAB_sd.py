"""Long answers about two pictures and their reference by a vision LLM (one distortion each).

PYTHONPATH=./ python scripts/gen_resp_gpt4v_refAB_sd.py --help
"""

from build_datasets.dq495k.responses import gpt4v_command

if __name__ == "__main__":
    gpt4v_command("refAB")
