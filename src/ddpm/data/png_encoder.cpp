#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstring>
#include <new>
#include <png.h>
#include <span>

#include "ddpm/core/check.h"
#include "ddpm/data/image_codec.h"

namespace ddpm {
namespace {

constexpr size_t kMaxKeyword = 79;
constexpr size_t kMaxTextBytes = 1 << 20;
constexpr int kCompressionLevel = 4;  // 6 takes twice the time for grids of the same size

/// As in the decoder, libpng leaves write_all by longjmp: nothing in it has a destructor.
struct PngWriter {
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::vector<uint8_t> bytes;
  std::array<char, 128> reason{};

  PngWriter() = default;
  PngWriter(const PngWriter&) = delete;
  PngWriter& operator=(const PngWriter&) = delete;
  ~PngWriter() { png_destroy_write_struct(&png, &info); }
};

[[noreturn]] void on_write_error(png_structp png, png_const_charp message) {
  auto* writer = static_cast<PngWriter*>(png_get_error_ptr(png));
  std::strncpy(writer->reason.data(), message, writer->reason.size() - 1);
  png_longjmp(png, 1);
}

void on_write_warning(png_structp /*png*/, png_const_charp /*message*/) {}

void append_bytes(png_structp png, png_bytep data, size_t count) {
  auto* writer = static_cast<PngWriter*>(png_get_io_ptr(png));
  bool appended = true;
  try {
    writer->bytes.insert(writer->bytes.end(), data, data + count);
  } catch (const std::bad_alloc&) {
    appended = false;  // no exception may cross libpng's frames
  }
  if (!appended) png_error(png, "out of memory");
}

void flush_nothing(png_structp /*png*/) {}

bool write_all(PngWriter& writer, const Image& image, std::span<const png_text> text) {
  if (setjmp(png_jmpbuf(writer.png)) != 0) return false;
  png_set_write_fn(writer.png, &writer, append_bytes, flush_nothing);
  png_set_compression_level(writer.png, kCompressionLevel);
  png_set_IHDR(writer.png, writer.info, static_cast<png_uint_32>(image.width),
               static_cast<png_uint_32>(image.height), 8,
               image.channels == 1 ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (!text.empty()) {
    png_set_text(writer.png, writer.info, text.data(), static_cast<int>(text.size()));
  }
  png_write_info(writer.png, writer.info);
  for (int64_t y = 0; y < image.height; ++y) png_write_row(writer.png, image.at(0, y));
  png_write_end(writer.png, writer.info);
  return true;
}

void check_keyword(const std::string& keyword) {
  const bool printable = std::all_of(keyword.begin(), keyword.end(),
                                     [](char letter) { return letter >= ' ' && letter <= '~'; });
  const bool ok = printable && !keyword.empty() && keyword.size() <= kMaxKeyword &&
                  keyword.front() != ' ' && keyword.back() != ' ' &&
                  keyword.find("  ") == std::string::npos;
  check_arg(ok, "[encode_png] keyword of a text chunk: expected 1 to ", kMaxKeyword,
            " printable ASCII characters with single spaces inside, got '", keyword, "'");
}

/// libpng's view of `text`, which must outlive it.
std::vector<png_text> make_entries(const TextChunks& text) {
  std::vector<png_text> entries;
  for (const auto& [keyword, value] : text) {
    check_keyword(keyword);
    check_arg(value.size() <= kMaxTextBytes, "[encode_png] text of '", keyword,
              "': expected at most ", kMaxTextBytes, " bytes, got ", value.size());
    check_arg(value.find('\0') == std::string::npos, "[encode_png] text of '", keyword,
              "': expected no NUL character, got one");
    const bool ascii = std::all_of(value.begin(), value.end(),
                                   [](char letter) { return static_cast<uint8_t>(letter) < 0x80; });
    png_text entry{};
    entry.compression = ascii ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;
    entry.key = const_cast<char*>(keyword.c_str());  // libpng copies it
    entry.text = const_cast<char*>(value.c_str());
    (ascii ? entry.text_length : entry.itxt_length) = value.size();
    entries.push_back(entry);
  }
  return entries;
}

}  // namespace

std::vector<uint8_t> encode_png(const Image& image, const TextChunks& text) {
  check_image("encode_png", image);
  check_arg(image.width <= PNG_UINT_31_MAX && image.height <= PNG_UINT_31_MAX,
            "[encode_png] sides: expected at most ", PNG_UINT_31_MAX, ", got ", image.width, " x ",
            image.height);
  const std::vector<png_text> entries = make_entries(text);
  PngWriter writer;
  writer.png =
      png_create_write_struct(PNG_LIBPNG_VER_STRING, &writer, on_write_error, on_write_warning);
  if (writer.png != nullptr) writer.info = png_create_info_struct(writer.png);
  check_state(writer.info != nullptr, "[encode_png] libpng cannot start");
  const bool ok = write_all(writer, image, entries);
  check_state(ok, "[encode_png] libpng failed: ", writer.reason.data());
  return std::move(writer.bytes);
}

}  // namespace ddpm
