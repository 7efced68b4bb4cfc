"""The specification's examples, with only the import line and the placeholders changed."""

import asyncio

import numpy as np
import pytest


def test_document_000_batch_processing(capsys):
    from primum import BatchConfig, BatchProcessor, BatchRequest

    def model(x):
        return 2 * x

    your_input_data = 21

    batch_config = BatchConfig(
        max_batch_size=32,
        enable_dynamic_batching=True,
        target_latency_ms=100.0
    )  # fmt: skip

    def inference_function(batch_inputs):
        # Your model inference logic
        return [model(input) for input in batch_inputs]

    batch_processor = BatchProcessor(batch_config, inference_function)
    batch_processor.start()

    # Submit requests
    request = BatchRequest(
        request_id="req_001",
        input_data=your_input_data,
        priority=1
    )  # fmt: skip

    request_id = batch_processor.submit_request(request)
    result = batch_processor.get_result(request_id, timeout=30.0)
    assert (request_id, result) == ("req_001", 42)

    # Batch processing metrics
    batch_report = batch_processor.get_performance_report()
    print(f"Throughput: {batch_report.metrics.throughput_requests_per_second:.1f} req/s")
    assert "req/s" in capsys.readouterr().out
    batch_processor.stop()


def test_document_000_async_processing():
    from primum import AsyncBatchProcessor, BatchConfig, BatchRequest

    batch_config = BatchConfig()
    request = BatchRequest(input_data=3)

    async def your_async_model(batch):
        return [x + 1 for x in batch]

    async def main():
        async def async_inference(batch_inputs):
            # Async inference implementation
            return await your_async_model(batch_inputs)

        async_batch_processor = AsyncBatchProcessor(batch_config, async_inference)
        result = await async_batch_processor.submit_async_request(request)
        assert async_batch_processor.get_performance_report().metrics.answered == 1
        return result

    assert asyncio.run(main()) == 4


def test_document_000_slow_batch_processing():
    from primum import BatchConfig

    batch_config = BatchConfig()
    # Optimize batch size
    batch_config.max_batch_size = 64

    # Enable dynamic batching
    batch_config.enable_dynamic_batching = True
    assert batch_config.max_batch_size == 64


@pytest.mark.parametrize("batching_config", [None, {"max_batch_size": 16}])
def test_document_001_health_model_batcher(batching_config):
    from primum import create_health_model_batcher

    class OptimizedModel:
        def predict_tensor(self, batch):
            return np.stack([1 - batch[:, 0], batch[:, 0]], axis=1)

    optimized_model = OptimizedModel()

    # Dynamic batching for high-throughput serving
    batcher = create_health_model_batcher(optimized_model, batching_config)

    async def main():
        async with batcher:
            return await asyncio.gather(*(batcher.predict(np.array([p])) for p in (0.25, 0.75)))

    assert [a.tolist() for a in asyncio.run(main())] == [[0.75, 0.25], [0.25, 0.75]]


def test_document_004_dynamic_batcher():
    from primum import DynamicBatcher

    class Model:
        def predict_batch(self, features_batch):
            return [{"risk": features["age"] / 100} for features in features_batch]

    model = Model()
    features = {"age": 61}

    async def main():
        # Usage
        batcher = DynamicBatcher(model, max_batch_size=32, max_wait_ms=10)
        task = asyncio.create_task(batcher.batch_processor())

        # In request handler
        prediction = await batcher.predict(features)
        await batcher.stop()
        await task
        return prediction

    assert asyncio.run(main()) == {"risk": 0.61}


def test_importing_the_room_loads_neither_torch_nor_a_runtime():
    import subprocess
    import sys

    code = (
        "import sys, primum; primum.DynamicBatcher; primum.BatchProcessor; "
        "print([m for m in ('torch', 'onnxruntime', 'openvino', 'onnx', 'nncf') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
