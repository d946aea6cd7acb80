#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "ddpm/config/data_config.h"
#include "ddpm/config/edit_config.h"
#include "ddpm/config/field_list.h"
#include "ddpm/config/guidance_config.h"
#include "ddpm/config/sample_config.h"
#include "ddpm/serving/api/generation_fields.h"

namespace ddpm {

enum class EditKind { kInpaint, kImg2img, kInterpolate, kSuperres, kColorize };

template <>
struct EnumNames<EditKind> {
  static constexpr std::array names{"inpaint", "img2img", "interpolate", "superres", "colorize"};
};

/// A path has frames in the place of num_images, and no seed: nothing is drawn from it.
inline bool is_path(EditKind kind) { return kind == EditKind::kInterpolate; }

/// Restoring: something of the images is known exactly (sampling/restore.h).
inline bool restores(EditKind kind) {
  return kind != EditKind::kImg2img && kind != EditKind::kInterpolate;
}

/// What a kind of edit takes beside the fields of every request for images; as `ddpm edit`.
struct EditFields {
  EditKind kind = EditKind::kInpaint;
  FitPolicy fit = FitPolicy::kCrop;
  RestoreOptions restore = {};
  double strength = 0.5;
  int64_t factor = 2;
  int64_t frames = 9;
  std::vector<uint64_t> seeds = {};

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("fit", fit, "how an image that is not square becomes so");
    if (restores(kind)) {
      restore.visit_fields(visit);
    } else if (kind == EditKind::kImg2img) {
      visit("strength", strength,
            "part of the sampler's steps that is taken; 1: nothing of the image is left",
            between(0, 1));
    } else {
      visit("frames", frames, "images of the path, both ends included", between(2, 64));
      visit("seeds", seeds, "two, with a comma: from the sample of one to the other's");
    }
    if (kind == EditKind::kSuperres) {
      visit("factor", factor,
            "how many times as wide and high; where it is absent, the model's own, or 2",
            between(2, 1024));
    }
  }
};

/// Images of one edit, of a path their number is frames.
inline constexpr int64_t kMaxEditImages = 16;

/// How often a restoring edit may take the same steps.
inline constexpr int64_t kMaxEditResamples = 20;

/// What of a request for images makes sense for an edit. They are read by parse_generation.
struct SharedEditFields {
  std::string model;
  int64_t num_images = 1;
  std::string class_name;
  ImageFormat format = ImageFormat::kPng;
  int64_t deadline_ms = 0;
  SamplerOptions sampler = {};
  GuidanceOptions guidance = {};

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("model", model, "id of a model; may be left out where only one is served");
    visit("num_images", num_images, "how many images", between(1, kMaxEditImages));
    visit("class", class_name, "name or number of a class, for all images");
    visit("format", format, "png and webp: pictures; npz: uint8 arrays for NumPy");
    visit("deadline_ms", deadline_ms, "give up after this many milliseconds; 0: never",
          at_least(0));
    visit("sampler", sampler, "");
    visit("guidance", guidance, "");
  }
};

/// Those that a kind of edit takes. They refer to `shared`, which must outlive them.
inline std::vector<Field> list_shared_fields(SharedEditFields& shared, EditKind kind) {
  std::vector<Field> fields = list_fields(shared);
  if (is_path(kind)) std::erase_if(fields, [](const Field& f) { return f.key == "num_images"; });
  return fields;
}

}  // namespace ddpm
