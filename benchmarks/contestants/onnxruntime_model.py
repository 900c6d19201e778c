"""This project's model as an ONNX program in ONNX Runtime."""

import sys

from benchmarks.contest import serve
from benchmarks.contestants.onnx_work import make_work
from benchmarks.contestants.task import Task

if __name__ == "__main__":
    serve(make_work(Task.from_text(sys.argv[1]), "onnxruntime"))
