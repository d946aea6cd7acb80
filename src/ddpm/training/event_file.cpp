#include "ddpm/training/event_file.h"

#include <array>
#include <bit>
#include <chrono>

namespace ddpm {
namespace {

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) ? 0x82f63b78u : 0u);
    table[byte] = value;
  }
  return table;
}

// Little-endian, as protobuf and TFRecord store fixed-size numbers.
template <typename Integer>
std::string fixed_bytes(Integer value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof(Integer); ++i) {
    bytes += static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
  }
  return bytes;
}

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 128; value >>= 7) bytes += static_cast<char>((value & 127) | 128);
  return bytes + static_cast<char>(value);
}

// Protobuf's encoding of a field: its number and wire type, then the value.
enum class WireType : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

std::string field_tag(uint64_t number, WireType type) {
  return varint(number << 3 | static_cast<uint64_t>(type));
}
std::string varint_field(uint64_t number, int64_t value) {
  return field_tag(number, WireType::kVarint) + varint(static_cast<uint64_t>(value));
}
std::string double_field(uint64_t number, double value) {
  return field_tag(number, WireType::kFixed64) + fixed_bytes(std::bit_cast<uint64_t>(value));
}
std::string float_field(uint64_t number, float value) {
  return field_tag(number, WireType::kFixed32) + fixed_bytes(std::bit_cast<uint32_t>(value));
}
std::string bytes_field(uint64_t number, const std::string& bytes) {
  return field_tag(number, WireType::kBytes) + varint(bytes.size()) + bytes;
}

// Field numbers of tensorflow's event.proto and summary.proto.
namespace event_field {
constexpr uint64_t kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;
}
namespace summary_field {
constexpr uint64_t kValue = 1, kTag = 1, kSimpleValue = 2, kImage = 4;
constexpr uint64_t kHeight = 1, kWidth = 2, kColorspace = 3, kEncodedImage = 4;
}  // namespace summary_field
constexpr uint64_t kSessionStatus = 1;
constexpr int64_t kSessionStart = 1;

std::string event(int64_t step, const std::string& content) {
  using Seconds = std::chrono::duration<double>;
  const Seconds now = std::chrono::system_clock::now().time_since_epoch();
  return double_field(event_field::kWallTime, now.count()) +
         varint_field(event_field::kStep, step) + content;
}

std::string tfrecord(const std::string& data) {
  const auto masked_crc = [](const std::string& bytes) {
    return std::rotr(crc32c(bytes.data(), bytes.size()), 15) + 0xa282ead8u;
  };
  const std::string length = fixed_bytes<uint64_t>(data.size());
  return length + fixed_bytes(masked_crc(length)) + data + fixed_bytes(masked_crc(data));
}

}  // namespace

uint32_t crc32c(const void* data, size_t size) {
  static constexpr auto kTable = make_crc_table();
  const auto* bytes = static_cast<const unsigned char*>(data);
  uint32_t value = ~0u;
  for (size_t i = 0; i < size; ++i) value = kTable[(value ^ bytes[i]) & 255] ^ (value >> 8);
  return ~value;
}

EventFile::EventFile(const std::string& path, int64_t resumed_step)
    : file_(path, /*truncate=*/true) {
  file_.append(tfrecord(event(0, bytes_field(event_field::kFileVersion, "brain.Event:2"))));
  if (resumed_step > 0) {
    const std::string start = varint_field(kSessionStatus, kSessionStart);
    file_.append(tfrecord(event(resumed_step + 1, bytes_field(event_field::kSessionLog, start))));
  }
}

void EventFile::write_scalars(int64_t step,
                              const std::vector<std::pair<std::string, double>>& values) {
  std::string summary;
  for (const auto& [tag, value] : values) {
    summary += bytes_field(summary_field::kValue,
                           bytes_field(summary_field::kTag, tag) +
                               float_field(summary_field::kSimpleValue, static_cast<float>(value)));
  }
  file_.append(tfrecord(event(step, bytes_field(event_field::kSummary, summary))));
}

void EventFile::write_image(int64_t step, const std::string& tag, const EventPicture& picture) {
  const std::string image =
      varint_field(summary_field::kHeight, picture.height) +
      varint_field(summary_field::kWidth, picture.width) +
      varint_field(summary_field::kColorspace, picture.channels) +
      bytes_field(summary_field::kEncodedImage, {picture.png.begin(), picture.png.end()});
  const std::string value =
      bytes_field(summary_field::kTag, tag) + bytes_field(summary_field::kImage, image);
  file_.append(tfrecord(
      event(step, bytes_field(event_field::kSummary, bytes_field(summary_field::kValue, value)))));
}

}  // namespace ddpm
