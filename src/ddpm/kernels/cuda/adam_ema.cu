#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/adam_ema_kernels.h"

namespace ddpm::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocks = 1024;  // of the sum of squares
constexpr int kVector = 4;
static_assert(kAdamEmaScratch == kBlocks + 8);

/// What a step multiplies by; float32, behind the partial sums in scratch.
struct StepScalars {
  float clip;           // min(1, max_grad_norm / norm)
  float step_size;      // lr / (1 - beta1^step)
  float sqrt_bias2;     // sqrt(1 - beta2^step)
  float weight_factor;  // 1 - lr * weight_decay
  float one_minus_ema;  // 1 - ema_decay
  int finite;
};
static_assert(sizeof(StepScalars) <= 8 * sizeof(double));

__device__ __host__ StepScalars* scalars_of(double* scratch) {
  return reinterpret_cast<StepScalars*>(scratch + kBlocks);
}

__device__ void load_four(const float* from, int64_t i, float (&out)[kVector]) {
  const float4 four = *reinterpret_cast<const float4*>(from + i);
  out[0] = four.x;
  out[1] = four.y;
  out[2] = four.z;
  out[3] = four.w;
}
__device__ void load_four(const __nv_bfloat16* from, int64_t i, float (&out)[kVector]) {
  const auto* pairs = reinterpret_cast<const __nv_bfloat162*>(from + i);
  const float2 low = __bfloat1622float2(pairs[0]);
  const float2 high = __bfloat1622float2(pairs[1]);
  out[0] = low.x;
  out[1] = low.y;
  out[2] = high.x;
  out[3] = high.y;
}
__device__ void store_four(float* to, int64_t i, const float (&values)[kVector]) {
  *reinterpret_cast<float4*>(to + i) = make_float4(values[0], values[1], values[2], values[3]);
}
__device__ void store_four(__nv_bfloat16* to, int64_t i, const float (&values)[kVector]) {
  auto* pairs = reinterpret_cast<__nv_bfloat162*>(to + i);
  pairs[0] = __floats2bfloat162_rn(values[0], values[1]);
  pairs[1] = __floats2bfloat162_rn(values[2], values[3]);
}

/// The sum over a block, in thread 0; the order depends on the block's size alone.
__device__ double block_sum(double value) {
  __shared__ double warps[32];
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_down_sync(0xffffffff, value, offset);
  }
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x != 0) return 0;
  for (int warp = 1; warp < static_cast<int>(blockDim.x) / 32; ++warp) value += warps[warp];
  return value;
}

/// Squares are exact in float64, so that tens of millions of them keep float32's digits.
template <typename Grad>
__global__ void square_sums_kernel(int64_t size, const Grad* grad, double* sums) {
  double sum = 0;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x * kVector;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * kVector;
  for (int64_t i = first; i < size; i += stride) {
    if (i + kVector <= size) {
      float g[kVector];
      load_four(grad, i, g);
#pragma unroll
      for (int k = 0; k < kVector; ++k) sum += static_cast<double>(g[k]) * g[k];
    } else {
      for (int64_t j = i; j < size; ++j) {
        const double g = static_cast<float>(grad[j]);
        sum += g * g;
      }
    }
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

/// Moves the counters, and computes in float64 what the step needs.
__global__ void begin_step_kernel(AdamEmaConstants constants, AdamEmaBuffers buffers) {
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < kBlocks; i += static_cast<int>(blockDim.x)) {
    sum += buffers.scratch[i];
  }
  sum = block_sum(sum);
  if (threadIdx.x != 0) return;
  const double norm = sqrt(sum);
  const bool finite = isfinite(norm) && (buffers.loss == nullptr || isfinite(*buffers.loss));
  *buffers.norm = static_cast<float>(norm);
  *buffers.step += finite ? 1 : 0;
  *buffers.nonfinite_total += finite ? 0 : 1;
  *buffers.nonfinite_in_a_row = finite ? 0 : *buffers.nonfinite_in_a_row + 1;

  const auto step = static_cast<double>(*buffers.step);
  const double lr = *buffers.lr;
  StepScalars scalars;
  scalars.finite = finite ? 1 : 0;
  scalars.clip = constants.max_grad_norm > 0
                     ? static_cast<float>(fmin(1.0, constants.max_grad_norm / (norm + 1e-6)))
                     : 1.0f;
  scalars.step_size = static_cast<float>(lr / (1 - pow(constants.beta1, step)));
  scalars.sqrt_bias2 = static_cast<float>(sqrt(1 - pow(constants.beta2, step)));
  scalars.weight_factor = static_cast<float>(1 - lr * constants.weight_decay);
  scalars.one_minus_ema = static_cast<float>(1 - *buffers.ema_decay);
  *scalars_of(buffers.scratch) = scalars;
}

/// Constants of the update, rounded once.
struct UpdateConstants {
  float beta2, one_minus_beta1, one_minus_beta2, eps, added_decay;
};

struct WeightState {
  float master, m, v, ema;
};

__device__ void update_weight(const UpdateConstants& constants, const StepScalars& scalars,
                              float grad, WeightState& state) {
  float g = grad * scalars.clip;
  g += constants.added_decay * state.master;
  float master = state.master * scalars.weight_factor;
  state.m += constants.one_minus_beta1 * (g - state.m);
  state.v = state.v * constants.beta2 + constants.one_minus_beta2 * g * g;
  master -= scalars.step_size * (state.m / (sqrtf(state.v) / scalars.sqrt_bias2 + constants.eps));
  state.ema += scalars.one_minus_ema * (master - state.ema);
  state.master = master;
}

template <typename Grad>
__global__ void update_kernel(UpdateConstants constants, AdamEmaBuffers buffers) {
  const StepScalars scalars = *scalars_of(buffers.scratch);
  if (scalars.finite == 0) return;
  const auto* grad = static_cast<const Grad*>(buffers.grad);
  auto* weights = static_cast<__nv_bfloat16*>(buffers.weights);
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * kVector;
  if (i + kVector <= buffers.size) {
    float g[kVector], master[kVector], m[kVector], v[kVector], ema[kVector];
    load_four(grad, i, g);
    load_four(buffers.master, i, master);
    load_four(buffers.m, i, m);
    load_four(buffers.v, i, v);
    load_four(buffers.ema, i, ema);
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      WeightState state{master[k], m[k], v[k], ema[k]};
      update_weight(constants, scalars, g[k], state);
      master[k] = state.master;
      m[k] = state.m;
      v[k] = state.v;
      ema[k] = state.ema;
    }
    store_four(buffers.master, i, master);
    store_four(buffers.m, i, m);
    store_four(buffers.v, i, v);
    store_four(buffers.ema, i, ema);
    if (weights != nullptr) store_four(weights, i, master);
    return;
  }
  for (int64_t j = i; j < buffers.size; ++j) {
    WeightState state{buffers.master[j], buffers.m[j], buffers.v[j], buffers.ema[j]};
    update_weight(constants, scalars, static_cast<float>(grad[j]), state);
    buffers.master[j] = state.master;
    buffers.m[j] = state.m;
    buffers.v[j] = state.v;
    buffers.ema[j] = state.ema;
    if (weights != nullptr) weights[j] = __float2bfloat16_rn(state.master);
  }
}

/// The weights of a skipped step are those of the master too, as after every step.
__global__ void round_weights_kernel(AdamEmaBuffers buffers) {
  if (scalars_of(buffers.scratch)->finite != 0) return;
  auto* weights = static_cast<__nv_bfloat16*>(buffers.weights);
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < buffers.size;
       i += stride) {
    weights[i] = __float2bfloat16_rn(buffers.master[i]);
  }
}

template <typename Grad>
cudaError_t launch_step(const AdamEmaConstants& constants, const AdamEmaBuffers& buffers,
                        cudaStream_t stream) {
  square_sums_kernel<<<kBlocks, kThreads, 0, stream>>>(
      buffers.size, static_cast<const Grad*>(buffers.grad), buffers.scratch);
  AdamEmaConstants scalar_constants = constants;
  if (!constants.decoupled_weight_decay) scalar_constants.weight_decay = 0;
  begin_step_kernel<<<1, kThreads, 0, stream>>>(scalar_constants, buffers);
  const UpdateConstants update{.beta2 = static_cast<float>(constants.beta2),
                               .one_minus_beta1 = static_cast<float>(1 - constants.beta1),
                               .one_minus_beta2 = static_cast<float>(1 - constants.beta2),
                               .eps = static_cast<float>(constants.eps),
                               .added_decay = constants.decoupled_weight_decay
                                                  ? 0.0f
                                                  : static_cast<float>(constants.weight_decay)};
  const int64_t per_block = static_cast<int64_t>(kThreads) * kVector;
  const auto blocks = static_cast<unsigned>((buffers.size + per_block - 1) / per_block);
  update_kernel<Grad><<<blocks, kThreads, 0, stream>>>(update, buffers);
  if (buffers.weights != nullptr) {
    round_weights_kernel<<<kBlocks, kThreads, 0, stream>>>(buffers);
  }
  return cudaGetLastError();
}

}  // namespace

cudaError_t adam_ema_step(const AdamEmaConstants& constants, const AdamEmaBuffers& buffers,
                          cudaStream_t stream) {
  if (buffers.size == 0) return cudaSuccess;
  return buffers.grad_is_bf16 ? launch_step<__nv_bfloat16>(constants, buffers, stream)
                              : launch_step<float>(constants, buffers, stream);
}

}  // namespace ddpm::cuda
