#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstring>
#include <png.h>

#include "ddpm/core/check.h"
#include "ddpm/data/image_orientation.h"
#include "ddpm/data/png_codec.h"

namespace ddpm {
namespace {

constexpr std::array<uint8_t, 8> kSignature{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
constexpr size_t kHeaderEnd = 33;  // the signature and the IHDR chunk
constexpr png_alloc_size_t kMaxChunkBytes = 8 << 20;
constexpr png_uint_32 kMaxChunks = 256;
constexpr size_t kMaxDeflateRatio = 1032;
// Names of chunks as libpng wants them: four letters and a zero each.
constexpr std::array<png_byte, 5> kExifChunk{'e', 'X', 'I', 'f', 0};
constexpr std::array<png_byte, 15> kTextChunks{'t', 'E', 'X', 't', 0,   'i', 'T', 'X',
                                               't', 0,   'z', 'T', 'X', 't', 0};

/// libpng reports errors by longjmp to the setjmp in begin_png, read_pixels: those, and the
/// callbacks, hold nothing that has a destructor. All memory lives here or with their callers.
struct PngReader {
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::span<const uint8_t> bytes;
  size_t position = 0;
  std::array<char, 128> reason{};

  explicit PngReader(std::span<const uint8_t> png_bytes) : bytes(png_bytes) {}
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;
  ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }
};

[[noreturn]] void on_read_error(png_structp png, png_const_charp message) {
  auto* reader = static_cast<PngReader*>(png_get_error_ptr(png));
  std::strncpy(reader->reason.data(), message, reader->reason.size() - 1);
  png_longjmp(png, 1);
}

void on_read_warning(png_structp /*png*/, png_const_charp /*message*/) {}

void read_bytes(png_structp png, png_bytep out, size_t count) {
  auto* reader = static_cast<PngReader*>(png_get_io_ptr(png));
  if (count > reader->bytes.size() - reader->position) png_error(png, "the file ends too early");
  std::memcpy(out, reader->bytes.data() + reader->position, count);
  reader->position += count;
}

/// Reads the chunks before the pixels; of the ancillary ones only `kept`.
bool begin_png(PngReader& reader, std::span<const png_byte> kept) {
  if (setjmp(png_jmpbuf(reader.png)) != 0) return false;
  png_set_read_fn(reader.png, &reader, read_bytes);
  png_set_user_limits(reader.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // the caller checks pixels
  png_set_chunk_malloc_max(reader.png, kMaxChunkBytes);
  png_set_chunk_cache_max(reader.png, kMaxChunks);
  png_set_crc_action(reader.png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
  png_set_keep_unknown_chunks(reader.png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  png_set_keep_unknown_chunks(reader.png, PNG_HANDLE_CHUNK_AS_DEFAULT, kept.data(),
                              static_cast<int>(kept.size() / 5));
  png_read_info(reader.png, reader.info);
  return true;
}

bool expand_to_bytes(PngReader& reader) {
  if (setjmp(png_jmpbuf(reader.png)) != 0) return false;
  png_set_expand(reader.png);  // palettes to RGB, less than 8 bits to 8, tRNS to alpha
  png_set_interlace_handling(reader.png);
  png_read_update_info(reader.png, reader.info);
  return true;
}

bool read_pixels(PngReader& reader, png_bytepp rows) {
  if (setjmp(png_jmpbuf(reader.png)) != 0) return false;
  png_read_image(reader.png, rows);
  png_read_end(reader.png, reader.info);
  return true;
}

void open_png(PngReader& reader, const char* function, const std::string& name,
              std::span<const png_byte> kept) {
  check_state(is_png(reader.bytes), "[", function, "] format of '", name, "': expected a PNG");
  reader.png =
      png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_read_error, on_read_warning);
  if (reader.png != nullptr) reader.info = png_create_info_struct(reader.png);
  check_state(reader.info != nullptr, "[", function, "] libpng cannot start, for '", name, "'");
  const bool ok = begin_png(reader, kept);
  check_state(ok, "[", function, "] damaged PNG '", name, "': ", reader.reason.data());
}

void check_pixels(std::span<const uint8_t> bytes, const std::string& name, int64_t max_pixels) {
  check_state(bytes.size() >= kHeaderEnd, "[decode_image] damaged PNG '", name,
              "': the file ends too early");
  const int64_t width = png_get_uint_32(bytes.data() + 16);
  const int64_t height = png_get_uint_32(bytes.data() + 20);
  check_state(width <= PNG_UINT_31_MAX && height <= PNG_UINT_31_MAX, "[decode_image] damaged PNG '",
              name, "': its header gives a size of ", width, " x ", height);
  check_state(width == 0 || height <= max_pixels / width, "[decode_image] size of '", name,
              "': expected at most ", max_pixels, " pixels, got ", width, " x ", height);
}

/// Samples of 8 bits, or 16 with the high byte first, as bytes of a row of pixels.
struct Samples {
  std::vector<uint8_t> bytes;
  int64_t channels = 0;
  int64_t depth = 0;

  uint64_t operator[](int64_t index) const {
    const auto i = static_cast<size_t>(index);
    if (depth == 8) return bytes[i];
    return static_cast<uint64_t>(bytes[2 * i]) << 8 | bytes[2 * i + 1];
  }
};

/// Composites on white and scales to 8 bits, rounded once.
Image flatten(Samples samples, int64_t width, int64_t height) {
  const bool has_alpha = samples.channels % 2 == 0;
  const int64_t colours = has_alpha ? samples.channels - 1 : samples.channels;
  if (!has_alpha && samples.depth == 8) {
    return {width, height, colours, std::move(samples.bytes)};
  }
  Image image = Image::filled(width, height, colours);
  const uint64_t white = samples.depth == 8 ? 255 : 65535;
  const uint64_t unit = white * white;
  for (int64_t pixel = 0; pixel < width * height; ++pixel) {
    const int64_t first = pixel * samples.channels;
    const uint64_t alpha = has_alpha ? samples[first + colours] : white;
    for (int64_t c = 0; c < colours; ++c) {
      const uint64_t value = samples[first + c] * alpha + white * (white - alpha);
      image.pixels[static_cast<size_t>(pixel * colours + c)] =
          static_cast<uint8_t>((value * 255 * 2 + unit) / (unit * 2));
    }
  }
  return image;
}

int png_orientation(const PngReader& reader) {
  png_uint_32 size = 0;
  png_bytep tiff = nullptr;
  if (png_get_eXIf_1(reader.png, reader.info, &size, &tiff) == 0) return 1;
  return exif_orientation({tiff, size});
}

std::string utf8_from_latin1(const char* text) {
  std::string utf8;
  for (; *text != '\0'; ++text) {
    const auto code = static_cast<uint8_t>(*text);
    if (code < 0x80) {
      utf8 += *text;
    } else {
      utf8 += static_cast<char>(0xC0 | code >> 6);
      utf8 += static_cast<char>(0x80 | (code & 0x3F));
    }
  }
  return utf8;
}

}  // namespace

bool is_png(std::span<const uint8_t> bytes) {
  return bytes.size() >= kSignature.size() &&
         std::equal(kSignature.begin(), kSignature.end(), bytes.begin());
}

Image decode_png(std::span<const uint8_t> bytes, const std::string& name, int64_t max_pixels) {
  check_pixels(bytes, name, max_pixels);
  PngReader reader(bytes);
  open_png(reader, "decode_image", name, kExifChunk);
  const int64_t width = png_get_image_width(reader.png, reader.info);
  const int64_t height = png_get_image_height(reader.png, reader.info);
  const auto rows_count = static_cast<size_t>(height);
  const size_t stored_bytes = png_get_rowbytes(reader.png, reader.info) * rows_count;
  check_state(stored_bytes / kMaxDeflateRatio <= bytes.size(), "[decode_image] damaged PNG '", name,
              "': ", bytes.size(), " bytes cannot hold ", width, " x ", height, " pixels");

  bool ok = expand_to_bytes(reader);
  check_state(ok, "[decode_image] damaged PNG '", name, "': ", reader.reason.data());
  const size_t row_bytes = png_get_rowbytes(reader.png, reader.info);
  Samples samples{std::vector<uint8_t>(row_bytes * rows_count),
                  png_get_channels(reader.png, reader.info),
                  png_get_bit_depth(reader.png, reader.info)};
  std::vector<png_bytep> rows(rows_count);
  for (size_t y = 0; y < rows_count; ++y) rows[y] = samples.bytes.data() + y * row_bytes;
  ok = read_pixels(reader, rows.data());
  check_state(ok, "[decode_image] damaged PNG '", name, "': ", reader.reason.data());
  return orient_image(flatten(std::move(samples), width, height), png_orientation(reader));
}

TextChunks decode_png_text(std::span<const uint8_t> bytes, const std::string& name) {
  PngReader reader(bytes);
  open_png(reader, "read_png_text", name, kTextChunks);
  png_textp entries = nullptr;
  int count = 0;
  png_get_text(reader.png, reader.info, &entries, &count);
  TextChunks text;
  for (const png_text& entry : std::span(entries, static_cast<size_t>(count))) {
    const bool international = entry.compression >= PNG_ITXT_COMPRESSION_NONE;
    text.emplace_back(utf8_from_latin1(entry.key),
                      international ? std::string(entry.text) : utf8_from_latin1(entry.text));
  }
  return text;
}

}  // namespace ddpm
