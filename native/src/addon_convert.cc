// convert: a matrix of a file, while the event loop goes on.
#include <string.h>

#include "addon.h"
#include "convert.h"

namespace dejavu {
namespace {

// One matrix that is converted, on threads of its own, and the promise of it.
struct Converting {
  Conversion job;
  std::shared_ptr<Memory> memory;
  int threads;
  bool done = false;
  napi_deferred deferred;
  napi_async_work work;
};

void converted(napi_env env, napi_status, void* data) {
  const std::unique_ptr<Converting> order(static_cast<Converting*>(data));
  napi_value result;
  napi_get_undefined(env, &result);
  if (order->done) {
    const auto& squares = order->job.squares;
    void* into = nullptr;
    napi_value buffer;
    napi_create_arraybuffer(env, squares.size() * sizeof(double), &into, &buffer);
    if (!squares.empty()) memcpy(into, squares.data(), squares.size() * sizeof(double));
    napi_create_typedarray(env, napi_float64_array, squares.size(), buffer, 0, &result);
  }
  napi_resolve_deferred(env, order->deferred, result);
  napi_delete_async_work(env, order->work);
}

}  // namespace

// convert(device, memory, path, type, numbers, places, squares): Promise<Float64Array | undefined>
napi_value convert_matrix(napi_env env, napi_callback_info info) {
  Arguments<7> in(env, info);
  auto order = std::make_unique<Converting>();
  Device* device = handle<Device>(env, in.value[0]);
  order->memory = handle<Piece>(env, in.value[1])->memory;
  if (!device->pool || !order->memory) return fail(env, "CLOSED", "the backend or memory is gone");
  order->threads = device->pool->threads();
  Conversion& job = order->job;
  job.path = string_of(env, in.value[2]);
  job.from = file_type(string_of(env, in.value[3]));
  size_t length = 0;
  void* data = nullptr;
  napi_get_typedarray_info(env, in.value[4], nullptr, &length, &data, nullptr, nullptr);
  const double* numbers = static_cast<const double*>(data);
  job.to = static_cast<DType>(numbers[0]);
  job.offset = static_cast<int64_t>(numbers[1]);
  job.file_rows = static_cast<int64_t>(numbers[2]);
  job.file_columns = static_cast<int64_t>(numbers[3]);
  job.turned = numbers[4] != 0;
  napi_get_typedarray_info(env, in.value[5], nullptr, &length, &data, nullptr, nullptr);
  const int32_t* places = static_cast<const int32_t*>(data);
  job.places.assign(places, places + length);
  napi_get_value_bool(env, in.value[6], &job.squares_wanted);
  job.into = order->memory->data();
  job.bytes = static_cast<int64_t>(order->memory->bytes());
  napi_value promise;
  napi_create_promise(env, &order->deferred, &promise);
  napi_create_async_work(
      env, nullptr, text(env, "dejavu convert"),
      [](napi_env, void* p) {
        auto* running = static_cast<Converting*>(p);
        try {
          running->done = running->job.from && convert(running->job, running->threads);
        } catch (...) {
          running->done = false;
        }
      },
      converted, order.get(), &order->work);
  napi_queue_async_work(env, order.release()->work);
  return promise;
}

}  // namespace dejavu
