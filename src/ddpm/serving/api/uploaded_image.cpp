#include "ddpm/serving/api/uploaded_image.h"

#include <algorithm>
#include <mutex>
#include <stdexcept>

#include "ddpm/data/image_codec.h"

namespace ddpm {
namespace {

std::mutex decoding;

}  // namespace

Image decode_upload(const Form::File& file) {
  const std::lock_guard one_at_a_time(decoding);
  try {
    Image image = decode_image({file.bytes.begin(), file.bytes.end()}, "[" + file.name + "]",
                               kMaxUploadSide * kMaxUploadSide);
    if (std::max(image.width, image.height) <= kMaxUploadSide) return image;
    throw std::runtime_error("[" + file.name + "] an image: expected at most " +
                             std::to_string(kMaxUploadSide) + " pixels a side, got " +
                             std::to_string(image.width) + " x " + std::to_string(image.height));
  } catch (const std::runtime_error& error) {
    refuse_form(file.name, error.what());
  }
}

Image uploaded_image(const Form& form, const std::string& name) {
  const auto is_it = [&](const Form::File& file) { return file.name == name; };
  const auto count = std::count_if(form.files.begin(), form.files.end(), is_it);
  if (count != 1) {
    refuse_form(name, "[" + name + "] expected one PNG or JPEG file of this name, got " +
                          std::to_string(count));
  }
  return decode_upload(*std::find_if(form.files.begin(), form.files.end(), is_it));
}

}  // namespace ddpm
