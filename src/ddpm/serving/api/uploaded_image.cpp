#include "ddpm/serving/api/uploaded_image.h"

#include <algorithm>
#include <mutex>
#include <stdexcept>

#include "ddpm/data/fit.h"
#include "ddpm/data/image_codec.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace ddpm {
namespace {

constexpr int64_t kLargePixels = 1 << 20;

std::mutex one_at_a_time;

/// Gives the memory of a large image back to the system, which malloc would keep for this thread.
void give_back_memory() {
#ifdef __GLIBC__
  malloc_trim(/*pad=*/0);
#endif
}

Image decoded(const Form::File& file) {
  try {
    Image image = decode_image({file.bytes.begin(), file.bytes.end()}, file.name,
                               kMaxUploadSide * kMaxUploadSide);
    if (std::max(image.width, image.height) <= kMaxUploadSide) return image;
    throw std::runtime_error("[" + file.name + "] an image: expected at most " +
                             std::to_string(kMaxUploadSide) + " pixels a side, got " +
                             std::to_string(image.width) + " x " + std::to_string(image.height));
  } catch (const std::runtime_error& error) {
    refuse_form(file.name, error.what());
  }
}

}  // namespace

Image square_of_file(const Form::File& file, int64_t size, FitPolicy fit) {
  const std::lock_guard lock(one_at_a_time);
  Image image = decoded(file);
  const bool is_large = image.width * image.height > kLargePixels;
  Image square = fit_square(image, size, fit, ResizeFilter::kAuto);
  image = Image();
  if (is_large) give_back_memory();
  return square;
}

Image square_of_upload(const Form& form, const std::string& name, int64_t size, FitPolicy fit) {
  const auto is_it = [&](const Form::File& file) { return file.name == name; };
  const auto count = std::count_if(form.files.begin(), form.files.end(), is_it);
  if (count != 1) {
    refuse_form(name, "[" + name + "] expected one PNG or JPEG file of this name, got " +
                          std::to_string(count));
  }
  return square_of_file(*std::find_if(form.files.begin(), form.files.end(), is_it), size, fit);
}

}  // namespace ddpm
