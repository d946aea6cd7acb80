#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ddpm/core/tensor.h"
#include "ddpm/serving/api/edit_fields.h"
#include "ddpm/serving/api/form.h"
#include "ddpm/serving/api/service.h"

namespace ddpm {

/// An edit, checked as far as it can be without the network.
struct EditTask {
  EditFields fields;
  JobRequest request;  ///< The images to draw, by parse_generation.
  std::shared_ptr<const ServedModel> model;
  std::string class_name = {};       ///< As given; empty: each in turn, or none.
  std::vector<Tensor> sources = {};  ///< [1, C, H, W] float32 in [-1, 1] on the CPU: the images.
  Tensor mask = {};                  ///< Of inpaint: [1, 1, H, W], 1 is painted.
};

/// Whether what is known of the images is put in at each step (sampling/restore.h). A model that
/// was trained to enlarge images sees them instead.
inline bool restores(const EditTask& task) {
  return restores(task.fields.kind) && task.model->super_resolution == 0;
}

/// The task of a form, which has the fields of a request for images (sampler.steps, guidance.scale,
/// class, seed, ..), those of EditFields, and files: image; mask of inpaint; two images of
/// interpolate, unless it has seeds. Defaults are those of `ddpm edit`.
///
/// @throws HttpError 422 that names the field, 404 for an unknown model.
EditTask parse_edit(EditKind kind, Form form, const Service& service);

}  // namespace ddpm
