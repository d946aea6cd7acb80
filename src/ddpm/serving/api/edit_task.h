#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ddpm/config/data_config.h"
#include "ddpm/config/edit_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/serving/api/form.h"
#include "ddpm/serving/api/service.h"

namespace ddpm {

enum class EditKind { kInpaint, kImg2img, kInterpolate, kSuperres, kColorize };

template <>
struct EnumNames<EditKind> {
  static constexpr std::array names{"inpaint", "img2img", "interpolate", "superres", "colorize"};
};

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
      visit("factor", factor, "how many times as wide and high", between(2, 1024));
    }
  }
};

/// An edit, checked as far as it can be without the network.
struct EditTask {
  EditFields fields;
  JobRequest request;  ///< The images to draw, by parse_generation.
  std::shared_ptr<const ServedModel> model;
  std::string class_name = {};       ///< As given; empty: each in turn, or none.
  std::vector<Tensor> sources = {};  ///< [1, C, H, W] float32 in [-1, 1] on the CPU: the images.
  Tensor mask = {};                  ///< Of inpaint: [1, 1, H, W], 1 is painted.
};

/// Images of one edit, of a path their number is frames.
inline constexpr int64_t kMaxEditImages = 16;

/// The task of a form, which has the fields of a request for images (sampler.steps, guidance.scale,
/// class, seed, ..), those of EditFields, and files: image; mask of inpaint; two images of
/// interpolate, unless it has seeds. Defaults are those of `ddpm edit`.
///
/// @throws HttpError 422 that names the field, 404 for an unknown model.
EditTask parse_edit(EditKind kind, Form form, const Service& service);

}  // namespace ddpm
