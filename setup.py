"""Packaging of cxr-tfx. Exact versions are in requirements/tfx-*.lock; these are bounds.

The Python decides on the TFX: 1.16 on 3.10, 1.21 on 3.11 to 3.13 (common/generations.py).
"""

from pathlib import Path

from setuptools import find_packages, setup

README = Path(__file__).parent / "README.md"

setup(
    name="cxr-tfx",
    version="0.1.0",
    description="A TFX pipeline that trains, compares and serves chest X-ray classifiers",
    long_description=README.read_text(encoding="utf-8") if README.is_file() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    # The code is written for 3.10; TFX 1.21 has packages up to 3.13.
    python_requires=">=3.10,<3.14",
    packages=find_packages(
        include=["pipeline*", "components*", "models*", "schema*", "serving*", "common*"]
    ),
    # Spelled out so that an editable install puts this folder on the path: a package
    # added later is then found without installing anew.
    package_dir={"": "."},
    package_data={
        "": ["py.typed", "*.j2"],
        "schema": ["*.pbtxt"],
        "pipeline.config": ["presets/*.yaml"],
        "pipeline.deidentify": ["actions.tsv"],
        "components": ["*/templates/*.css", "*/templates/*.j2"],
    },
    install_requires=[
        'tfx>=1.16,<1.17; python_version < "3.11"',
        'tfx>=1.21,<1.22; python_version >= "3.11"',
        # Beam 2.69 stopped bringing dill along, yet tfx-bsl still imports it, 1.16 as 1.21:
        # without this line `import tfx` fails.
        "dill",
        "apache-beam",
        'tensorflow>=2.16,<2.17; python_version < "3.11"',
        'tensorflow>=2.21,<2.22; python_version >= "3.11"',
        "tensorboard",
        "keras>=3,<4",
        "keras-tuner[bayesian]>=1.4",
        'numpy<2; python_version < "3.11"',
        'numpy>=2,<3; python_version >= "3.11"',
        "scipy",
        "pandas",
        "pillow>=10",
        "h5py",
        "openvino>=2026",
        "nncf>=3.4,<4",
        # DICOM: files, decoders, reports, PACS.
        "pydicom>=3.0.2,<4",
        "pylibjpeg>=2",
        "pylibjpeg-openjpeg>=2",
        "pylibjpeg-rle>=2",
        "highdicom>=0.27",
        "pynetdicom>=3",
        "dicomweb-client>=0.60",
        "pydantic>=2,<3",
        "typer",
        "rich",
        "pyyaml",
        # The embedded server and the client.
        "starlette",
        "uvicorn",
        "python-multipart>=0.0.20",
        "anyio",
        "grpcio",
        "tensorflow-serving-api",
        "prometheus-client",
        # The signatures of pushed versions.
        "cryptography",
        "requests",
        # The report.
        "jinja2",
        "matplotlib",
        "scikit-learn",
        "threadpoolctl",
        # Which packages a bill of materials tells of.
        "packaging",
        "markdown",
        "docker",
        # Kubeflow: object stores.
        "fsspec",
        "s3fs",
        # The `tfx` CLI runs `pip freeze --local` inside the environment.
        "pip",
        # setuptools 81 dropped pkg_resources, which TFX's dependencies still import.
        "setuptools<81",
    ],
    extras_require={
        # JPEG, lossless JPEG and JPEG-LS in DICOM, under GPL-3; `make setup` installs it.
        "dicom-jpeg": ["pylibjpeg-libjpeg>=2"],
        # The KFP v2 compiler and client; `make setup` installs them.
        "kubeflow": [
            'kfp>=2,<3; python_version < "3.11"',
            'kfp>=2.6,<2.17; python_version >= "3.11"',
        ],
    },
    entry_points={"console_scripts": ["cxr = pipeline.cli:main"]},
)
