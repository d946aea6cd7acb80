#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>

#include "ddpm/core/check.h"
#include "ddpm/data/image_set.h"
#include "ddpm/evaluation/extract_features.h"
#include "ddpm/evaluation/feature_statistics.h"
#include "ddpm/evaluation/frechet_distance.h"
#include "ddpm/evaluation/kernel_distance.h"
#include "ddpm/pipeline/classifier_features.h"
#include "ddpm/pipeline/pipeline.h"
#include "eval_commands.h"
#include "eval_flags.h"
#include "image_source.h"

namespace ddpm::app {
namespace {

constexpr const char* kMetric = "Frechet distance on classifier features (not FID)";
constexpr int64_t kUsualSubset = 1000;

struct FrechetFlags {
  EvalFlags eval;
  std::vector<std::string> sources;  ///< Sets of samples, and last the reference.
  std::string classifier;
  KernelDistanceOptions kernel{.num_subsets = 100, .subset_size = 0, .seed = 0};
};

/// A set's features and where it came from.
struct FeatureSet {
  Tensor features;
  FeatureMoments moments;
  nlohmann::ordered_json about;
};

/// The sets, in order. data.held_out_fraction is for folders of images: where there are some, the
/// others stay without.
std::vector<ImageSource> parse_sets(const FrechetFlags& flags) {
  std::vector<ImageSource> sets;
  for (const std::string& text : flags.sources) {
    sets.push_back(parse_image_source(text, flags.eval.overrides));
  }
  const auto is_folder = [](const ImageSource& set) {
    return detect_kind(set.data) == DataKind::kFolder;
  };
  if (std::none_of(sets.begin(), sets.end(), is_folder)) return sets;
  for (ImageSource& set : sets) {
    if (!set.is_recipe && !is_folder(set)) set.data.held_out_fraction = 0;
  }
  return sets;
}

FeatureSet measure_set(const FrechetFlags& flags, const Pipeline& classifier,
                       const ImageSource& source, int64_t max_images) {
  const LoadedImages loaded = load_images(
      source,
      {.command = "eval frechet", .shape = classifier.image_shape(), .max_images = max_images});
  const int64_t count = loaded.set.images.size(0);
  check_arg(count >= 2, "[eval frechet] ", source.path, ": expected at least 2 images, got ",
            count);
  check_arg(flags.kernel.subset_size <= count, "[--subset-size] ", source.path,
            ": expected at most its ", count, " images, got ", flags.kernel.subset_size);
  Progress progress(
      {.total = count, .label = "features", .style = eval_progress_style(flags.eval)});
  FeatureSet set{
      .features = extract_features(classifier_features(classifier), loaded.set.images,
                                   {.batch_size = flags.eval.batch_size,
                                    .device = classifier.device,
                                    .progress = [&](int64_t done) { progress.update(done); }}),
      .moments = {},
      .about = loaded.about};
  progress.finish();
  FeatureStatistics statistics;
  for (const Tensor& batch : set.features.split(flags.eval.batch_size)) statistics.add(batch);
  set.moments = statistics.moments();
  return set;
}

/// Half of the smaller set, so that subsets differ, up to the usual size.
int64_t subset_size_of(const FrechetFlags& flags, const FeatureSet& a, const FeatureSet& b) {
  if (flags.kernel.subset_size > 0) return flags.kernel.subset_size;
  const int64_t smaller = std::min(a.moments.count, b.moments.count);
  return std::clamp<int64_t>(smaller / 2, 2, kUsualSubset);
}

nlohmann::ordered_json compare(const FrechetFlags& flags, const FeatureSet& samples,
                               const FeatureSet& reference) {
  const FrechetDistance frechet = frechet_distance(samples.moments, reference.moments);
  KernelDistanceOptions kernel = flags.kernel;
  kernel.subset_size = subset_size_of(flags, samples, reference);
  const KernelDistance distance = kernel_distance(samples.features, reference.features, kernel);
  nlohmann::ordered_json result{{"samples", samples.about},
                                {"frechet_distance", frechet.distance},
                                {"mean_term", frechet.mean_term},
                                {"covariance_term", frechet.covariance_term},
                                {"kernel_distance",
                                 {{"mean", distance.mean},
                                  {"deviation", distance.deviation},
                                  {"subsets", kernel.num_subsets},
                                  {"subset_size", kernel.subset_size},
                                  {"seed", kernel.seed}}},
                                {"notes", nlohmann::ordered_json::array()}};
  if (frechet.rank_deficient) {
    result["notes"].push_back(c10::str(
        "fewer images than needed: ", std::min(samples.moments.count, reference.moments.count),
        " for ", reference.moments.mean.size(0),
        " features; the distance is mostly their small number"));
  }
  return result;
}

/// Sets of samples of another number than the first.
void note_counts(nlohmann::ordered_json& sets) {
  const auto first = sets[0]["samples"]["images"].get<int64_t>();
  for (auto& set : sets) {
    const auto count = set["samples"]["images"].get<int64_t>();
    if (count == first) continue;
    set["notes"].push_back(c10::str(count, " images where the first set has ", first,
                                    "; Frechet distances of unequal numbers don't compare"));
  }
}

std::string set_text(const nlohmann::ordered_json& about) {
  return c10::str(about["path"].get<std::string>(), " (", about["split"].get<std::string>(), ", ",
                  about["images"].get<int64_t>(), " images)");
}

void print_comparison(const nlohmann::ordered_json& report) {
  const auto& classifier = report["classifier"];
  std::printf("%s\n", kMetric);
  std::printf("  classifier  %s (hash %s, step %lld), %lld features at t = 0\n",
              classifier["path"].get<std::string>().c_str(),
              classifier["hash"].get<std::string>().c_str(), classifier["step"].get<long long>(),
              classifier["features"].get<long long>());
  std::printf("  reference   %s\n", set_text(report["reference"]).c_str());
  const auto images = report["reference"]["preprocessing"].get<std::string>();
  std::printf("  images      %s\n", images.c_str());
  print_settings(report);
  for (const auto& set : report["sets"]) {
    const auto& kernel = set["kernel_distance"];
    std::printf("%s\n", set_text(set["samples"]).c_str());
    const auto own_images = set["samples"]["preprocessing"].get<std::string>();
    if (own_images != images) std::printf("  images            %s\n", own_images.c_str());
    std::printf("  Frechet distance  %.6g  (means %.4g, covariances %.4g)\n",
                set["frechet_distance"].get<double>(), set["mean_term"].get<double>(),
                set["covariance_term"].get<double>());
    std::printf(
        "  kernel distance   %.6g  (standard deviation %.2g over %lld subsets of %lld images)\n",
        kernel["mean"].get<double>(), kernel["deviation"].get<double>(),
        kernel["subsets"].get<long long>(), kernel["subset_size"].get<long long>());
    for (const auto& note : set["notes"]) {
      std::printf("  note: %s\n", note.get<std::string>().c_str());
    }
  }
}

void run_eval_frechet(const FrechetFlags& flags) {
  check_arg(flags.sources.size() >= 2,
            "[eval frechet] expected samples and last the reference, got ", flags.sources.size(),
            " set of images");
  check_arg(flags.kernel.num_subsets >= 1, "[--subsets] expected 1 or more, got ",
            flags.kernel.num_subsets);
  check_arg(flags.kernel.subset_size == 0 || flags.kernel.subset_size >= 2,
            "[--subset-size] expected 0, or 2 or more, got ", flags.kernel.subset_size);
  prepare_evaluation(flags.eval);
  const std::vector<ImageSource> sets = parse_sets(flags);
  const Pipeline classifier = load_pipeline(flags.classifier, {.device = flags.eval.device});
  check_classifies_images(classifier.folder);
  const FeatureSet reference = measure_set(flags, classifier, sets.back(), /*max_images=*/0);
  nlohmann::ordered_json report{{"metric", kMetric},
                                {"classifier", model_json(flags.classifier, classifier.folder)},
                                {"reference", reference.about},
                                {"sets", nlohmann::ordered_json::array()}};
  report["classifier"]["features"] = reference.features.size(1);
  report.update(settings_json(flags.eval, classifier.device));
  for (size_t i = 0; i + 1 < sets.size(); ++i) {
    const FeatureSet samples = measure_set(flags, classifier, sets[i], flags.eval.max_images);
    report["sets"].push_back(compare(flags, samples, reference));
  }
  note_counts(report["sets"]);
  if (flags.eval.json) {
    std::printf("%s\n", report.dump(2).c_str());
  } else {
    print_comparison(report);
  }
}

}  // namespace

void add_eval_frechet_command(CLI::App& eval) {
  auto* command = eval.add_subcommand(
      "frechet",
      "How far samples are from real images: the Frechet distance, and the kernel distance, of the "
      "features of a classifier that was trained here. The features are not Inception's, so this "
      "is "
      "neither FID nor KID: compare numbers of one classifier, one reference and equal counts.\n\n"
      "Examples:\n"
      "  ddpm sample MODEL -n 5000 -o samples.npz\n"
      "  ddpm eval frechet samples.npz recipes/cifar10_ddpm.toml --classifier runs/classifier\n"
      "  ddpm eval frechet a.npz b.npz recipe.toml:test recipe.toml -n 5000 --classifier runs/c");
  auto flags = std::make_shared<FrechetFlags>();
  command
      ->add_option("sets", flags->sources,
                   "sets of samples, and last the reference: each a folder, an .npz, IDX or CIFAR "
                   "files or a recipe, with :test behind it its held-out images")
      ->required();
  command
      ->add_option("--classifier", flags->classifier,
                   "run folder, checkpoint or model folder of a classifier")
      ->required();
  command->add_option("--subsets", flags->kernel.num_subsets, "of the kernel distance")
      ->capture_default_str();
  command
      ->add_option("--subset-size", flags->kernel.subset_size,
                   "images of a subset; 0: 1000, or half of the smaller set")
      ->check(CLI::NonNegativeNumber);
  add_eval_flags(*command, flags->eval);
  command->get_option("--images")
      ->description(
          "of each set of samples a random choice of so many, always the same; 0: all; the "
          "reference is taken whole");
  command->callback([flags] { run_eval_frechet(*flags); });
}

}  // namespace ddpm::app
