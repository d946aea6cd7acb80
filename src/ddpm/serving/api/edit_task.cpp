#include "ddpm/serving/api/edit_task.h"

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>
#include <string>

#include "ddpm/config/nearest_name.h"
#include "ddpm/core/one_line.h"
#include "ddpm/data/fit.h"
#include "ddpm/data/image_tensor.h"
#include "ddpm/sampling/interpolate.h"
#include "ddpm/sampling/levels.h"
#include "ddpm/sampling/sampler_options.h"
#include "ddpm/serving/api/generation_options.h"
#include "ddpm/serving/api/uploaded_image.h"

namespace ddpm {
namespace {

using nlohmann::json;

constexpr int64_t kRestoreSteps = 100;

void check_known(const Form& form, const std::vector<Field>& shared, const std::vector<Field>& own,
                 EditKind kind) {
  std::vector<std::string> names;
  for (const Field& field : shared) names.push_back(field.key);
  for (const Field& field : own) names.push_back(field.key);
  if (!is_path(kind)) names.emplace_back("seed");
  for (const auto& [key, text] : form.fields) {
    if (std::find(names.begin(), names.end(), key) != names.end()) continue;
    const std::string shown = one_line(key);
    refuse_form(shown, "[" + shown + "] unknown field of this edit: expected one that is known" +
                           suggest_name(key, names));
  }
}

/// The sampler of restoring, unless others were given: 100 steps of ddpm, whose steps stand alone.
void set_restore_sampler(json& body, const ServedModel* model) {
  json& sampler = body["sampler"];
  if (!sampler.contains("kind")) sampler["kind"] = enum_word(SamplerKind::kDdpm);
  if (!sampler.contains("steps") && model != nullptr) {
    sampler["steps"] = std::min(kRestoreSteps, model->num_timesteps);
  }
}

std::shared_ptr<const ServedModel> named_model(const ServedModels& models, const json& body) {
  const auto all = models.list();
  if (!body.contains("model")) return all.size() == 1 ? all.front() : nullptr;
  return models.find(body.at("model").get<std::string>());
}

JobRequest parse_request(EditTask& task, Form& form, const Service& service) {
  SharedEditFields shared;
  const EditKind kind = task.fields.kind;
  json body = take_members(form, list_shared_fields(shared, kind));
  if (body.contains("class")) task.class_name = body.at("class").get<std::string>();
  if (!is_path(kind)) body["seed"] = form_seed(form.take("seed"));
  assign_form(list_fields(task.fields), form);
  if (is_path(kind)) body["num_images"] = task.fields.frames;
  const auto named = named_model(service.models, body);
  const bool sees_image = named != nullptr && named->super_resolution > 0;
  if (restores(kind) && !sees_image) set_restore_sampler(body, named.get());
  GenerationLimits limits = service.limits;
  limits.max_images = is_path(kind) ? task.fields.frames : kMaxEditImages;
  JobRequest request = parse_generation(body, service.models, limits, /*with_image=*/true);
  task.model = service.models.find(request.engine.model);
  if (task.model == nullptr) {
    throw HttpError(404, "unknown_model", "[model] expected a model that is served", "model");
  }
  return request;
}

/// A model that enlarges images does nothing else, and by its own factor, which the task takes.
void check_enlarging(EditTask& task, const Form& form) {
  const int64_t factor = task.model->super_resolution;
  if (factor == 0) return;
  EditFields& fields = task.fields;
  if (fields.kind != EditKind::kSuperres) {
    refuse_form("model", "[model] " + std::string(enum_word(fields.kind)) +
                             ": expected one that draws from noise alone, got one that enlarges "
                             "images " +
                             std::to_string(factor) + " times");
  }
  if (form.fields.contains("factor") && fields.factor != factor) {
    refuse_form("factor", "[factor] expected what the model was trained for, " +
                              std::to_string(factor) + ", got " + std::to_string(fields.factor));
  }
  fields.factor = factor;
  for (const std::string name : {"jump_length", "resamples", "sigma_y"}) {
    if (!form.fields.contains(name)) continue;
    refuse_form(name, "[" + name + "] expected with a model that was not trained to enlarge " +
                          "images, this one was");
  }
}

void check_restore(const EditTask& task) {
  if (task.fields.restore.resamples > kMaxEditResamples) {
    refuse_form("resamples", "[resamples] expected at most " + std::to_string(kMaxEditResamples) +
                                 ", got " + std::to_string(task.fields.restore.resamples));
  }
  const std::vector<int64_t>& shape = task.model->image_shape;
  if (task.fields.kind == EditKind::kColorize && shape.at(0) != 3) {
    refuse_form("model", "[model] colorize: expected a model of RGB images, got one of grey ones");
  }
  if (task.fields.kind == EditKind::kSuperres && shape.at(1) % task.fields.factor != 0) {
    refuse_form("factor", "[factor] expected a divisor of the model's " +
                              std::to_string(shape.at(1)) + " pixels, got " +
                              std::to_string(task.fields.factor));
  }
}

const std::set<std::string> kPathOptions{"kind",      "steps",        "spacing",
                                         "drop_last", "steps_offset", "levels",
                                         "rho",       "sigma_min",    "sigma_max"};

/// Between images the way to noise and back has a sampler of its own: of the options it takes those
/// of the levels.
void check_path(EditTask& task, const std::set<std::string>& given) {
  const EditFields& fields = task.fields;
  if (!fields.seeds.empty() && fields.seeds.size() != 2) {
    refuse_form("seeds", "[seeds] expected two, got " + std::to_string(fields.seeds.size()));
  }
  // One class for the whole path: each in turn would jump from frame to frame.
  if (task.class_name.empty() && task.model->num_classes > 0) {
    refuse_form("class",
                "[class] interpolate: expected the class of the path, this model has some");
  }
  if (!fields.seeds.empty()) return;
  SamplerOptions& sampler = task.request.engine.sampler;
  if (given.contains("kind") && sampler.kind != SamplerKind::kDdim) {
    refuse_form("sampler.kind",
                "[sampler.kind] interpolate: expected ddim, which leads images to "
                "noise and back, got " +
                    std::string(enum_word(sampler.kind)));
  }
  for (const std::string& key : given) {
    if (kPathOptions.contains(key)) continue;
    refuse_form("sampler." + key,
                "[sampler." + key + "] interpolate: expected it with seeds alone, " +
                    "DDIM leads images to noise and back without noise or clipping");
  }
  if (!given.contains("steps")) {  // not as many as the model's own sampler would take
    sampler.steps = options_for_sampler(task.model->default_sampler, sampler.kind).steps;
  }
  sampler = path_sampler(sampler);
  sampler.steps = count_sampler_steps(sampler, task.model->num_timesteps);
}

std::set<std::string> given_options(const Form& form) {
  constexpr std::string_view kPrefix = "sampler.";
  std::set<std::string> given;
  for (const auto& [key, text] : form.fields) {
    if (key.starts_with(kPrefix)) given.insert(key.substr(kPrefix.size()));
  }
  return given;
}

Tensor source_of_square(const Image& square, int64_t channels) {
  return image_to_tensor(convert_channels(square, channels)).unsqueeze(0);
}

/// White where to paint: 1. The mask goes the source's way, so both keep lying on one another.
Tensor read_mask(const Form& form, int64_t size, FitPolicy fit) {
  const Image square = square_of_upload(form, "mask", size, fit);
  Tensor mask = source_of_square(square, /*channels=*/1).ge(0).to(at::kFloat);
  if (mask.max().item<double>() == 0) {
    refuse_form("mask", "[mask] expected one with white, which is painted, got none");
  }
  return mask;
}

void check_files(const Form& form, EditKind kind) {
  for (const Form::File& file : form.files) {
    const bool is_known =
        file.name == "image" || (file.name == "mask" && kind == EditKind::kInpaint);
    if (is_known) continue;
    const std::string shown = one_line(file.name);
    refuse_form(shown, "[" + shown + "] unknown file: expected image" +
                           (kind == EditKind::kInpaint ? " or mask" : ""));
  }
}

void read_sources(EditTask& task, const Form& form) {
  const EditFields& fields = task.fields;
  const int64_t channels = task.model->image_shape.at(0);
  const int64_t size = task.model->image_shape.at(1);
  check_files(form, fields.kind);
  if (!is_path(fields.kind)) {
    const int64_t small = fields.kind == EditKind::kSuperres ? size / fields.factor : size;
    task.sources = {source_of_square(square_of_upload(form, "image", small, fields.fit), channels)};
    if (fields.kind == EditKind::kInpaint) task.mask = read_mask(form, size, fields.fit);
    return;
  }
  const size_t expected = fields.seeds.empty() ? 2 : 0;
  if (form.files.size() != expected) {
    refuse_form("image", "[image] interpolate: expected two images, or seeds and none, got " +
                             std::to_string(form.files.size()));
  }
  for (const Form::File& file : form.files) {
    task.sources.push_back(source_of_square(square_of_file(file, size, fields.fit), channels));
  }
}

}  // namespace

EditTask parse_edit(EditKind kind, Form form, const Service& service) {
  EditTask task;
  task.fields.kind = kind;
  const std::set<std::string> given = given_options(form);
  {
    SharedEditFields shared;
    EditFields own{.kind = kind};
    check_known(form, list_shared_fields(shared, kind), list_fields(own), kind);
  }
  task.request = parse_request(task, form, service);
  check_enlarging(task, form);
  if (restores(task)) check_restore(task);
  if (is_path(kind)) check_path(task, given);
  if (kind == EditKind::kImg2img && task.fields.strength == 0) {
    refuse_form("strength", "[strength] expected more than 0, got 0");
  }
  read_sources(task, form);
  return task;
}

}  // namespace ddpm
