#include "ddpm/data/idx.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <memory>
#include <numeric>
#include <string>
#include <string_view>
#include <zlib.h>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxBytes = int64_t{1} << 40;
constexpr int64_t kChunkBytes = int64_t{16} << 20;
constexpr uint8_t kUnsignedByte = 0x08;
constexpr std::string_view kImagesPart = "images-idx3";
constexpr std::string_view kLabelsPart = "labels-idx1";
constexpr std::array kFashionNames{"t-shirt", "trouser", "pullover", "dress", "coat",
                                   "sandal",  "shirt",   "sneaker",  "bag",   "ankle_boot"};

struct GzipCloser {
  void operator()(gzFile file) const { gzclose_r(file); }
};
using GzipHandle = std::unique_ptr<std::remove_pointer_t<gzFile>, GzipCloser>;

/// What zlib found wrong; empty if nothing. It puts the file's name in front, which is cut off.
std::string gzip_error(gzFile file, const std::string& name) {
  int status = Z_OK;
  std::string reason = gzerror(file, &status);
  if (status == Z_OK || status == Z_STREAM_END) return {};
  if (reason.starts_with(name + ": ")) reason.erase(0, name.size() + 2);
  return reason;
}

/// Up to `count` bytes; fewer at the end of the file.
int64_t read_some(gzFile file, const std::string& name, uint8_t* out, int64_t count) {
  int64_t done = 0;
  while (done < count) {
    const int64_t wanted = std::min(count - done, kChunkBytes);
    const int got = gzread(file, out + done, static_cast<unsigned>(wanted));
    const std::string reason = gzip_error(file, name);
    check_state(got >= 0 && reason.empty(), "[read_idx] damaged gzip stream in '", name,
                "': expected it to unpack, got '", reason, "'");
    if (got == 0) break;
    done += got;
  }
  return done;
}

std::vector<int64_t> read_sizes(gzFile file, const std::string& name) {
  std::array<uint8_t, 4> magic{};
  const int64_t got = read_some(file, name, magic.data(), 4);
  check_state(got == 4 && magic[0] == 0 && magic[1] == 0, "[read_idx] not an IDX file: expected '",
              name, "' to begin with two zero bytes, a type and a dimension count");
  check_state(magic[2] == kUnsignedByte, "[read_idx] data type of '", name,
              "': expected 8 (unsigned bytes), got ", int{magic[2]});
  check_state(magic[3] >= 1 && magic[3] <= 4, "[read_idx] dimensions of '", name,
              "': expected 1 to 4, got ", int{magic[3]});
  std::vector<uint8_t> words(size_t{4} * magic[3]);
  const auto expected = static_cast<int64_t>(words.size());
  const int64_t header = read_some(file, name, words.data(), expected);
  check_state(header == expected, "[read_idx] '", name, "' ends in its header: expected ", expected,
              " bytes of sizes, got ", header);
  std::vector<int64_t> sizes;
  for (size_t i = 0; i < words.size(); i += 4) {
    sizes.push_back(int64_t{words[i]} << 24 | int64_t{words[i + 1]} << 16 |
                    int64_t{words[i + 2]} << 8 | int64_t{words[i + 3]});
  }
  return sizes;
}

int64_t count_bytes(const std::vector<int64_t>& sizes, const std::string& name) {
  int64_t bytes = 1;
  for (const int64_t size : sizes) {
    check_state(size == 0 || bytes <= kMaxBytes / size, "[read_idx] size announced by '", name,
                "': expected at most 2^40 bytes, got more");
    bytes *= size;
  }
  return bytes;
}

bool is_fashion(const fs::path& path) {
  std::string text = fs::absolute(path).string();
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text.find("fashion") != std::string::npos;
}

/// The file with the name given or, where it is absent, with ".gz" put on or taken off.
fs::path with_either_ending(const fs::path& path) {
  if (fs::exists(path)) return path;
  const fs::path other = path.extension() == ".gz" ? path.parent_path() / path.stem()
                                                   : fs::path(path.string() + ".gz");
  return fs::exists(other) ? other : path;
}

fs::path find_images(const fs::path& path) {
  if (!fs::is_directory(path)) return path;
  const fs::path usual = with_either_ending(path / "train-images-idx3-ubyte");
  if (fs::exists(usual)) return usual;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(path)) {
    if (entry.path().filename().string().find(kImagesPart) != std::string::npos) {
      found.push_back(entry.path());
    }
  }
  check_arg(found.size() == 1, "[load_idx] IDX images in folder '", path.string(),
            "': expected train-images-idx3-ubyte or one file named *images-idx3*, got ",
            found.size());
  return found.front();
}

/// Beside training images, the test images; empty if there are none.
fs::path find_test_images(const fs::path& images) {
  constexpr std::string_view kTrainPart = "train";
  const std::string name = images.filename().string();
  const size_t at = name.find(kTrainPart);
  if (at == std::string::npos) return {};
  for (const char* word : {"t10k", "test"}) {
    std::string other = name;
    other.replace(at, kTrainPart.size(), word);
    const fs::path path = with_either_ending(images.parent_path() / other);
    if (fs::exists(path)) return path;
  }
  return {};
}

/// The images that config.split asks for.
fs::path images_path(const DataConfig& config) {
  const fs::path path = find_images(config.path);
  if (config.split == DataSplit::kTrain) return path;
  check_arg(config.labels_path.empty(),
            "[load_idx] data.labels_path: expected none with data.split test, which finds the test "
            "images' own, got '",
            config.labels_path, "'");
  return find_test_images(path);
}

/// Empty: the set has no labels.
fs::path find_labels(const fs::path& images, const std::string& labels_path) {
  if (!labels_path.empty()) return labels_path;
  std::string name = images.filename().string();
  const size_t at = name.find(kImagesPart);
  if (at == std::string::npos) return {};
  name.replace(at, kImagesPart.size(), kLabelsPart);
  const fs::path labels = with_either_ending(images.parent_path() / name);
  check_arg(fs::exists(labels), "[load_idx] labels of '", images.string(), "': expected '",
            labels.string(), "' (or data.labels_path), got no such file");
  return labels;
}

Tensor read_labels(const fs::path& path, int64_t count) {
  const IdxArray array = read_idx(path);
  check_state(array.sizes.size() == 1, "[load_idx] labels '", path.string(),
              "': expected 1 dimension, got ", array.sizes.size());
  check_state(array.sizes[0] == count, "[load_idx] labels '", path.string(), "': expected ", count,
              " labels, one for each image, got ", array.sizes[0]);
  Tensor labels = at::empty({count}, at::kLong);
  std::copy(array.values.begin(), array.values.end(), labels.mutable_data_ptr<int64_t>());
  return labels;
}

std::vector<std::string> name_classes(const Tensor& labels, const fs::path& images) {
  const auto largest = labels.max().item<int64_t>();
  if (is_fashion(images)) {
    check_state(largest < static_cast<int64_t>(kFashionNames.size()), "[load_idx] labels of '",
                images.string(), "': expected at most 9 in Fashion-MNIST, got ", largest);
    return {kFashionNames.begin(), kFashionNames.end()};
  }
  std::vector<std::string> names;
  for (int64_t i = 0; i <= largest; ++i) names.push_back(std::to_string(i));
  return names;
}

}  // namespace

IdxArray read_idx(const fs::path& path) {
  const std::string name = path.string();
  check_state(!fs::is_directory(path), "[read_idx] expected a file, got folder '", name, "'");
  const GzipHandle file(gzopen(name.c_str(), "rb"));
  check_state(file != nullptr, "[read_idx] can't open '", name, "'");
  IdxArray array{.sizes = read_sizes(file.get(), name), .values = {}};
  const int64_t expected = count_bytes(array.sizes, name);
  // Memory grows with what has really been read: the announced size alone reserves nothing.
  int64_t done = 0;
  while (done < expected) {
    const int64_t wanted = std::min(expected - done, kChunkBytes);
    array.values.resize(static_cast<size_t>(done + wanted));
    const int64_t got = read_some(file.get(), name, array.values.data() + done, wanted);
    done += got;
    check_state(got == wanted, "[read_idx] '", name, "' ends early: expected ", expected,
                " bytes of data, got ", done);
  }
  uint8_t beyond = 0;
  check_state(read_some(file.get(), name, &beyond, 1) == 0, "[read_idx] '", name,
              "' goes on after its data: expected ", expected, " bytes, got more");
  return array;
}

bool has_idx_test_images(const fs::path& path) {
  return !find_test_images(find_images(path)).empty();
}

ImageSet load_idx(const DataConfig& config) {
  const fs::path path = images_path(config);
  const fs::path labels_path = find_labels(path, config.labels_path);
  IdxArray array = read_idx(path);
  check_state(array.sizes.size() == 3, "[load_idx] images '", path.string(),
              "': expected 3 dimensions (count, height, width), got ", array.sizes.size());
  const int64_t count = array.sizes[0], height = array.sizes[1], width = array.sizes[2];
  check_state(!array.values.empty(), "[load_idx] images '", path.string(),
              "': expected at least one pixel, got ", count, " x ", height, " x ", width);
  check_state(height <= config.max_pixels / width, "[load_idx] images '", path.string(),
              "': expected at most data.max_pixels = ", config.max_pixels, ", got ", height, " x ",
              width);
  ImageSet set{.name = path.string()};
  const int64_t used = config.max_images > 0 ? std::min(count, config.max_images) : count;
  const Tensor images =
      at::from_blob(array.values.data(), {count, 1, height, width}, at::kByte).narrow(0, 0, used);
  set.images = fit_images(images, config, height / 4).clone();
  set.labels = at::zeros({used}, at::kLong);
  if (!labels_path.empty()) {
    const Tensor labels = read_labels(labels_path, count);
    set.class_names = name_classes(labels, path);
    set.labels = labels.narrow(0, 0, used).clone();
  }
  return set;
}

}  // namespace ddpm
