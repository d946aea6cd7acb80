#include "ddpm/serving/engine/engine_input.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace ddpm {
namespace {

/// Whose row is whose, in the order that CallInput says.
std::vector<int64_t> image_of_rows(const std::vector<BatchImage>& images, int64_t rows) {
  std::vector<int64_t> of_rows;
  const auto count = static_cast<int64_t>(images.size());
  for (int64_t i = 0; i < count; ++i) of_rows.push_back(i);
  for (int64_t i = 0; i < count; ++i) {
    if (images[static_cast<size_t>(i)].guidance != nullptr) of_rows.push_back(i);
  }
  of_rows.resize(static_cast<size_t>(std::max(rows, static_cast<int64_t>(of_rows.size()))), 0);
  return of_rows;
}

bool has_whole_timesteps(const std::vector<BatchImage>& images) {
  return std::all_of(images.begin(), images.end(),
                     [](const BatchImage& image) { return image.whole_timesteps; });
}

/// The numbers of a call's rows, in one tensor.
struct RowNumbers {
  /// @param numbers [4, rows] int64
  RowNumbers(const Tensor& numbers, bool whole_timesteps)
      : slots(numbers.select(/*dim=*/0, 0)),
        guess_rows(numbers.select(/*dim=*/0, 1)),
        class_labels(numbers.select(/*dim=*/0, 2)),
        t(numbers.select(/*dim=*/0, 3)) {
    if (!whole_timesteps) t = t.view(at::kFloat).narrow(/*dim=*/0, 0, numbers.size(1));
  }

  Tensor slots, guess_rows, class_labels, t;
};

/// @param type that of t's tensor.
template <typename Type>
void set_timesteps(const Tensor& t, const std::vector<BatchImage>& images,
                   const std::vector<int64_t>& of_rows) {
  auto* const out = t.mutable_data_ptr<Type>();
  for (size_t row = 0; row < of_rows.size(); ++row) {
    out[row] = static_cast<Type>(images[static_cast<size_t>(of_rows[row])].call->level.t);
  }
}

void set_places(const RowNumbers& numbers, const EngineModel& model, int64_t guesses_an_image,
                const std::vector<BatchImage>& images, const std::vector<int64_t>& of_rows) {
  auto* const slots = numbers.slots.mutable_data_ptr<int64_t>();
  auto* const guess_rows = numbers.guess_rows.mutable_data_ptr<int64_t>();
  auto* const class_labels = numbers.class_labels.mutable_data_ptr<int64_t>();
  const auto guided_end = static_cast<size_t>(count_rows(images));
  for (size_t row = 0; row < of_rows.size(); ++row) {
    const BatchImage& image = images[static_cast<size_t>(of_rows[row])];
    const bool is_weak = row >= images.size() && row < guided_end;
    slots[row] = image.slot;
    guess_rows[row] = image.slot * guesses_an_image + (is_weak ? 1 : 0);
    class_labels[row] = is_weak ? model.null_class : image.class_label;
  }
}

}  // namespace

CallInput gather_input(const EngineModel& model, const EngineSlots& slots,
                       const std::vector<BatchImage>& images, int64_t rows) {
  const std::vector<int64_t> of_rows = image_of_rows(images, rows);
  const bool whole = has_whole_timesteps(images);
  const bool is_sent = model.device.is_cuda();  // from pinned memory: the host does not wait
  const Tensor numbers = at::empty({4, static_cast<int64_t>(of_rows.size())},
                                   at::TensorOptions(at::kLong).pinned_memory(is_sent));
  const RowNumbers host(numbers, whole);
  set_places(host, model, slots.guesses_an_image(), images, of_rows);
  if (whole) {
    set_timesteps<int64_t>(host.t, images, of_rows);
  } else {
    set_timesteps<float>(host.t, images, of_rows);
  }
  const RowNumbers sent(numbers.to(model.device, /*non_blocking=*/is_sent), whole);
  return {.slots = sent.slots,
          .guess_rows = slots.guesses_an_image() > 0 ? sent.guess_rows : Tensor(),
          .x = slots.gather_x(sent.slots),
          .t = sent.t,
          .class_labels = model.num_labels > 0 ? sent.class_labels : Tensor()};
}

}  // namespace ddpm
