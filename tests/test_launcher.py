"""What launchers say of a process, and the devices that it takes."""

import http.server
import threading

import pytest

from jaxmia.training.launcher import Processes, of_environment, own_chips, own_gpu

KUBERNETES = {"TPU_WORKER_HOSTNAMES": "a,b,c", "TPU_WORKER_ID": "2"}


@pytest.mark.parametrize(
    ("env", "want"),
    [
        ({}, Processes(0, 1)),
        ({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4"}, Processes(1, 4)),
        ({"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1"},
         Processes(3, 4, 1)),
        ({"SLURM_PROCID": "0"}, Processes(0, 1)),  # a batch script itself
        ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_ARRAY_TASK_ID": "3"},
         Processes(0, 1)),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2",
          "OMPI_COMM_WORLD_LOCAL_RANK": "0"}, Processes(1, 2, 0)),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, Processes(1, 2)),
        ({"JAX_PROCESS_ID": "1", "JAX_NUM_PROCESSES": "2"}, Processes(1, 2)),
        (KUBERNETES, Processes(2, 3)),
        (KUBERNETES | {"MEGASCALE_SLICE_ID": "1", "MEGASCALE_NUM_SLICES": "2"}, Processes(5, 6)),
        ({"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}, Processes(0, 1)),
        ({"TPU_ACCELERATOR_TYPE": "v5litepod-8", "TPU_SKIP_MDS_QUERY": "1"}, Processes(0, 1)),
        ({"SLURM_PROCID": "4", "SLURM_STEP_NUM_TASKS": "4"}, "SLURM_PROCID=4 must be from 0 to 3"),
        ({"PMI_RANK": "x", "PMI_SIZE": "4"}, "PMI_RANK='x' in the environment must be a whole"),
        (KUBERNETES | {"TPU_WORKER_ID": "7"}, "TPU_WORKER_ID=7 must be from 0 to 2"),
    ],
)  # fmt: skip
def test_the_number_of_a_process_is_read_from_the_environment(env, want):
    if isinstance(want, str):
        with pytest.raises(ValueError, match=want):
            of_environment(env)
    else:
        assert of_environment(env) == want


def test_a_cloud_tpu_asks_the_server_of_its_host():
    answers = {"agent-worker-number": "1", "worker-network-endpoints": "x:a:1,y:b:2,z:c:3"}

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            key = self.path.split("/")[-1]
            assert self.headers["Metadata-Flavor"] == "Google"
            self.send_response(200 if key in answers else 404)
            self.end_headers()
            self.wfile.write(answers.get(key, "").encode())

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("localhost", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        env = {"TPU_ACCELERATOR_TYPE": "v4-32",
               "GCE_METADATA_IP": f"localhost:{server.server_port}"}  # fmt: skip
        assert of_environment(env) == Processes(1, 3)
        answers.clear()
        assert of_environment(env) == Processes(0, 1)
        server.shutdown()


@pytest.mark.parametrize(("files", "bounds"), [
    (["accel0", "accel1", "accel2", "accel3"], "2,2,1"), (["vfio/0"], "1,1,1"), ([], None),
    ([f"vfio/{i}" for i in range(8)], "2,4,1"), (["accel0", "accel1", "accel2"], None),
])  # fmt: skip
def test_a_host_of_a_tpu_takes_its_own_chips(files, bounds, tmp_path):
    (tmp_path / "vfio").mkdir()
    for name in [*files, "vfio/vfio"]:
        (tmp_path / name).touch()
    settings = own_chips({}, tmp_path)
    assert settings.get("TPU_CHIPS_PER_PROCESS_BOUNDS") == bounds
    if bounds:
        assert settings["TPU_VISIBLE_CHIPS"] == ",".join(map(str, range(len(files))))
        assert settings["TPU_PROCESS_BOUNDS"] == "1,1,1"
    assert own_chips({"TPU_VISIBLE_CHIPS": "0"}, tmp_path) == {}


SRUN = {"SLURM_PROCID": "1", "SLURM_STEP_TASKS_PER_NODE": "4(x2)"}


@pytest.mark.parametrize(
    ("of", "env", "want"),
    [
        (Processes(5, 8, 1), SRUN, "1"),
        (Processes(5, 8, 1), SRUN | {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, "1"),
        (Processes(5, 8, 1), SRUN | {"CUDA_VISIBLE_DEVICES": "2"}, None),  # its own by the launcher
        (Processes(1, 2, 0), SRUN | {"SLURM_STEP_TASKS_PER_NODE": "1(x2)"}, None),
        (Processes(1, 2, 1), {"OMPI_COMM_WORLD_LOCAL_SIZE": "2"}, "1"),
        (Processes(1, 2, 0), {"OMPI_COMM_WORLD_LOCAL_SIZE": "1"}, None),
        (Processes(1, 2), {}, None),
        (Processes(0, 1, 0), SRUN, None),
    ],
)
def test_processes_of_one_host_take_a_gpu_each(of, env, want):
    assert own_gpu(of, env) == want
