"""Generates the *_pb2_grpc.py files for buf: grpcio-tools has that generator built in, not as a plugin."""

import sys
import tempfile
from pathlib import Path

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

request = CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
response = CodeGeneratorResponse(supported_features=CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL)
with tempfile.TemporaryDirectory() as folder:
    protos, stubs = Path(folder, "protos"), Path(folder, "stubs")
    protos.write_bytes(FileDescriptorSet(file=request.proto_file).SerializeToString())
    stubs.mkdir()
    options = [f"--descriptor_set_in={protos}", f"--grpc_python_out={stubs}"]
    if protoc.main(["protoc", *options, *request.file_to_generate]) != 0:
        response.error = "grpcio-tools could not generate it"
    for stub in sorted(stubs.rglob("*.py")):
        name = stub.relative_to(stubs).as_posix()
        response.file.add(name=name, content=stub.read_text())
sys.stdout.buffer.write(response.SerializeToString())
