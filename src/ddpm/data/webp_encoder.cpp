#include <limits>
#include <memory>
#include <webp/encode.h>
#include <webp/mux.h>

#include "ddpm/core/check.h"
#include "ddpm/data/fit.h"
#include "ddpm/data/image_codec.h"

namespace ddpm {
namespace {

constexpr int64_t kMaxLoops = 65535;

struct Picture {
  WebPPicture webp{};

  explicit Picture(const Image& image) {
    check_state(WebPPictureInit(&webp) != 0, "[encode_webp_animation] libwebp: other version");
    webp.use_argb = 1;
    webp.width = static_cast<int>(image.width);
    webp.height = static_cast<int>(image.height);
    const Image rgb = convert_channels(image, 3);
    const bool ok = WebPPictureImportRGB(&webp, rgb.pixels.data(), 3 * webp.width) != 0;
    check_state(ok, "[encode_webp_animation] libwebp is out of memory");
  }
  Picture(const Picture&) = delete;
  Picture& operator=(const Picture&) = delete;
  ~Picture() { WebPPictureFree(&webp); }
};

struct DeleteEncoder {
  void operator()(WebPAnimEncoder* encoder) const { WebPAnimEncoderDelete(encoder); }
};
using EncoderPtr = std::unique_ptr<WebPAnimEncoder, DeleteEncoder>;

void check_options(const std::vector<Image>& frames, const WebpOptions& options) {
  check_arg(!frames.empty(), "[encode_webp_animation] frames: expected 1 or more, got none");
  const Image& first = frames.front();
  check_arg(first.width >= 1 && first.height >= 1 && first.width <= WEBP_MAX_DIMENSION &&
                first.height <= WEBP_MAX_DIMENSION,
            "[encode_webp_animation] size of frames: expected sides of 1 to ", WEBP_MAX_DIMENSION,
            ", got ", first.width, " x ", first.height);
  for (size_t i = 1; i < frames.size(); ++i) {
    const Image& frame = frames[i];
    check_arg(frame.width == first.width && frame.height == first.height &&
                  frame.channels == first.channels,
              "[encode_webp_animation] size of frame ", i, ": expected that of the first, ",
              first.width, " x ", first.height, " of ", first.channels, " channels, got ",
              frame.width, " x ", frame.height, " of ", frame.channels);
  }
  check_arg(options.frame_ms >= 1 && options.last_frame_ms >= 1,
            "[encode_webp_animation] frame_ms and last_frame_ms: expected 1 or more, got ",
            options.frame_ms, " and ", options.last_frame_ms);
  const auto longest = std::numeric_limits<int>::max() / static_cast<int64_t>(frames.size() + 1);
  check_arg(options.frame_ms <= longest && options.last_frame_ms <= longest,
            "[encode_webp_animation] frame_ms and last_frame_ms: expected at most ", longest,
            " for ", frames.size(), " frames, got ", options.frame_ms, " and ",
            options.last_frame_ms);
  check_arg(options.loop_count >= 0 && options.loop_count <= kMaxLoops,
            "[encode_webp_animation] loop_count: expected 0 to ", kMaxLoops, ", got ",
            options.loop_count);
  check_arg(options.quality >= 0 && options.quality <= 100,
            "[encode_webp_animation] quality: expected 0 to 100, got ", options.quality);
}

EncoderPtr make_encoder(const Image& first, const WebpOptions& options) {
  WebPAnimEncoderOptions settings;
  check_state(WebPAnimEncoderOptionsInit(&settings) != 0,
              "[encode_webp_animation] libwebpmux: other version");
  settings.anim_params.loop_count = static_cast<int>(options.loop_count);
  settings.anim_params.bgcolor = 0xFFFFFFFF;
  EncoderPtr encoder(
      WebPAnimEncoderNew(static_cast<int>(first.width), static_cast<int>(first.height), &settings));
  check_state(encoder != nullptr, "[encode_webp_animation] libwebpmux is out of memory");
  return encoder;
}

WebPConfig make_config(const WebpOptions& options) {
  WebPConfig config;
  check_state(WebPConfigInit(&config) != 0, "[encode_webp_animation] libwebp: other version");
  config.lossless = options.lossless ? 1 : 0;
  config.quality = static_cast<float>(options.quality);
  config.method = 2;  // noisy frames get 1% smaller above it, for twice the time
  return config;
}

}  // namespace

std::vector<uint8_t> encode_webp_animation(const std::vector<Image>& frames,
                                           const WebpOptions& options) {
  check_options(frames, options);
  const EncoderPtr encoder = make_encoder(frames.front(), options);
  const WebPConfig config = make_config(options);
  int64_t start_ms = 0;
  for (const Image& frame : frames) {
    Picture picture(frame);
    const bool ok =
        WebPAnimEncoderAdd(encoder.get(), &picture.webp, static_cast<int>(start_ms), &config) != 0;
    check_state(ok,
                "[encode_webp_animation] libwebp failed: ", WebPAnimEncoderGetError(encoder.get()));
    start_ms += options.frame_ms;
  }
  const int64_t end_ms = start_ms - options.frame_ms + options.last_frame_ms;
  WebPData data;
  WebPDataInit(&data);
  const bool ok =
      WebPAnimEncoderAdd(encoder.get(), nullptr, static_cast<int>(end_ms), nullptr) != 0 &&
      WebPAnimEncoderAssemble(encoder.get(), &data) != 0;
  const std::unique_ptr<WebPData, void (*)(WebPData*)> owner(&data, WebPDataClear);
  check_state(
      ok, "[encode_webp_animation] libwebpmux failed: ", WebPAnimEncoderGetError(encoder.get()));
  return {data.bytes, data.bytes + data.size};
}

}  // namespace ddpm
