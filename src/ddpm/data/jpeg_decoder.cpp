#include <array>
#include <csetjmp>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <utility>

// jpeglib.h needs stdio's types before it.
#include <jerror.h>
#include <jpeglib.h>

#include "ddpm/core/check.h"
#include "ddpm/data/image_orientation.h"
#include "ddpm/data/jpeg_codec.h"

namespace ddpm {
namespace {

constexpr int kMaxScans = 500;  // progressive files use about 10; thousands are an attack
constexpr int kExifMarker = JPEG_APP0 + 1;
constexpr std::array<uint8_t, 6> kExifName{'E', 'x', 'i', 'f', 0, 0};

/// libjpeg's errors leave by longjmp to the setjmp in read_header and read_rows: those, and the
/// callbacks, hold nothing that has a destructor. All memory lives here or with their callers.
struct JpegReader {
  jpeg_decompress_struct info{};
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
  std::jmp_buf escape{};
  std::array<char, JMSG_LENGTH_MAX> reason{};

  JpegReader() = default;
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;
  ~JpegReader() { jpeg_destroy_decompress(&info); }
};

[[noreturn]] void on_error(j_common_ptr info) {
  auto* reader = static_cast<JpegReader*>(info->client_data);
  info->err->format_message(info, reader->reason.data());
  std::longjmp(reader->escape, 1);
}

/// Levels below 0 are damage that libjpeg would paint over, but for two remarks about headers.
void on_message(j_common_ptr info, int level) {
  const int code = info->err->msg_code;
  if (level < 0 && code != JWRN_ADOBE_XFORM && code != JWRN_JFIF_MAJOR) on_error(info);
}

void on_progress(j_common_ptr info) {
  auto* reader = static_cast<JpegReader*>(info->client_data);
  if (reader->info.input_scan_number <= kMaxScans) return;
  std::snprintf(reader->reason.data(), reader->reason.size(), "more than %d scans", kMaxScans);
  std::longjmp(reader->escape, 1);
}

bool read_header(JpegReader& reader, std::span<const uint8_t> bytes) {
  reader.info.err = jpeg_std_error(&reader.errors);
  reader.errors.error_exit = on_error;
  reader.errors.emit_message = on_message;
  reader.progress.progress_monitor = on_progress;
  if (setjmp(reader.escape) != 0) return false;
  reader.info.client_data = &reader;  // jpeg_create_decompress keeps it and err, and may fail
  jpeg_create_decompress(&reader.info);
  reader.info.progress = &reader.progress;
  jpeg_mem_src(&reader.info, bytes.data(), bytes.size());
  jpeg_save_markers(&reader.info, kExifMarker, 0xFFFF);
  jpeg_read_header(&reader.info, TRUE);
  return true;
}

bool read_rows(JpegReader& reader, J_COLOR_SPACE colours, Image& image) {
  if (setjmp(reader.escape) != 0) return false;
  reader.info.out_color_space = colours;
  jpeg_start_decompress(&reader.info);
  while (reader.info.output_scanline < reader.info.output_height) {
    JSAMPROW row = image.at(0, reader.info.output_scanline);
    jpeg_read_scanlines(&reader.info, &row, 1);
  }
  jpeg_finish_decompress(&reader.info);
  return true;
}

int jpeg_orientation(const JpegReader& reader) {
  for (auto* marker = reader.info.marker_list; marker != nullptr; marker = marker->next) {
    const std::span<const uint8_t> data(marker->data, marker->data_length);
    if (marker->marker != kExifMarker || data.size() < kExifName.size()) continue;
    if (std::memcmp(data.data(), kExifName.data(), kExifName.size()) != 0) continue;
    return exif_orientation(data.subspan(kExifName.size()));
  }
  return 1;
}

/// Without a profile: red is what cyan and black ink leave. Adobe stores what is left, not the ink.
Image rgb_from_cmyk(const Image& cmyk, bool inks_inverted) {
  Image rgb = Image::filled(cmyk.width, cmyk.height, 3);
  for (int64_t pixel = 0; pixel < cmyk.width * cmyk.height; ++pixel) {
    const uint8_t* from = cmyk.pixels.data() + pixel * 4;
    uint8_t* to = rgb.pixels.data() + pixel * 3;
    const int paper = inks_inverted ? from[3] : 255 - from[3];
    for (int c = 0; c < 3; ++c) {
      const int left = inks_inverted ? from[c] : 255 - from[c];
      to[c] = static_cast<uint8_t>((left * paper + 127) / 255);
    }
  }
  return rgb;
}

J_COLOR_SPACE decoded_colours(const JpegReader& reader, const std::string& name) {
  switch (reader.info.jpeg_color_space) {
    case JCS_GRAYSCALE:
      return JCS_GRAYSCALE;
    case JCS_RGB:
    case JCS_YCbCr:
      return JCS_RGB;
    case JCS_CMYK:
    case JCS_YCCK:
      return JCS_CMYK;
    default:  // libjpeg-turbo's many names for the memory's layout; no file has them
      break;
  }
  check_state(false, "[decode_image] colours of JPEG '", name,
              "': expected grey, YCbCr, RGB or CMYK, got ", reader.info.num_components,
              " unnamed components");
  return JCS_UNKNOWN;
}

}  // namespace

bool is_jpeg(std::span<const uint8_t> bytes) {
  return bytes.size() >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF;
}

Image decode_jpeg(std::span<const uint8_t> bytes, const std::string& name, int64_t max_pixels) {
  JpegReader reader;
  bool ok = read_header(reader, bytes);
  check_state(ok, "[decode_image] damaged JPEG '", name, "': ", reader.reason.data());
  const int64_t width = reader.info.image_width;
  const int64_t height = reader.info.image_height;
  check_state(height <= max_pixels / width, "[decode_image] size of '", name,
              "': expected at most ", max_pixels, " pixels, got ", width, " x ", height);
  const J_COLOR_SPACE colours = decoded_colours(reader, name);
  const int64_t channels = colours == JCS_GRAYSCALE ? 1 : colours == JCS_RGB ? 3 : 4;

  const bool inks_inverted = reader.info.saw_Adobe_marker != 0;
  const int orientation = jpeg_orientation(reader);  // the end of decoding frees the markers

  Image image = Image::filled(width, height, channels);
  ok = read_rows(reader, colours, image);
  check_state(ok, "[decode_image] damaged JPEG '", name, "': ", reader.reason.data());
  if (channels == 4) image = rgb_from_cmyk(image, inks_inverted);
  return orient_image(std::move(image), orientation);
}

}  // namespace ddpm
