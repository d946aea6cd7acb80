#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

#include "ddpm/model/network.h"
#include "ddpm/pipeline/guided_denoiser.h"
#include "pipeline/small_model.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using ::testing::HasSubstr;
using testing::small_model;
using testing::tensors_near;
using ::testing::ThrowsMessage;
using Error = std::invalid_argument;

Pipeline opened(ModelFolder folder, uint64_t seed) {
  Pipeline pipeline;
  pipeline.folder = std::move(folder);
  pipeline.network = make_network(pipeline.folder.model);
  initialize(*pipeline.network, seed);
  pipeline.network->eval();
  pipeline.schedule = make_noise_schedule(pipeline.folder.diffusion);
  return pipeline;
}

Pipeline unconditional_model() { return opened(small_model(), 5); }

Pipeline classifier_model(std::vector<std::string> names = {"boot", "shirt", "bag"}) {
  ModelFolder folder = small_model();
  folder.model = {};
  folder.model.kind = ModelKind::kClassifier;
  folder.model.classifier = {.in_channels = 1,
                             .num_classes = static_cast<int64_t>(names.size()),
                             .block_out_channels = {8, 16},
                             .attention_head_dim = 8,
                             .norm_num_groups = 4};
  folder.extras.image_size = 8;
  folder.extras.class_names = std::move(names);
  return opened(std::move(folder), 7);
}

Tensor labels_of(std::vector<int64_t> labels) { return at::tensor(labels, at::kLong); }

Tensor log_probability(const Pipeline& classifier, const Tensor& x, const Tensor& t,
                       const Tensor& labels) {
  return classifier.network->forward(x, t, {}).log_softmax(1).gather(1, labels.unsqueeze(1));
}

TEST(ClassifierGuideTest, AddsTheClassifiersGradientToTheNetworksAnswer) {
  at::manual_seed(0);
  const Pipeline model = unconditional_model();
  const Pipeline classifier = classifier_model();
  const Tensor labels = labels_of({2, 0});
  const Tensor t = labels_of({3, 40});
  const Tensor x = at::randn({2, 1, 8, 8});
  const Denoiser guided = make_denoiser(
      model, {.classifier = {.pipeline = &classifier, .scale = 2.5, .class_labels = labels}});
  const Tensor plain = make_denoiser(model, {}).denoise(x, t).detach();
  Tensor got;
  {
    const at::NoGradGuard no_grad;  // as samplers call it
    got = guided.denoise(x, t);
  }
  for (const Tensor& weight : classifier.network->parameters()) {
    EXPECT_FALSE(weight.grad().defined()) << "memory and time for nothing";
  }
  const Tensor input = x.clone().requires_grad_();
  log_probability(classifier, input, t, labels).sum().backward();
  const Tensor factor = (1 - model.schedule.alphas_cumprod.index_select(0, t)).sqrt();
  const Tensor expected = plain - 2.5 * factor.to(at::kFloat).view({2, 1, 1, 1}) * input.grad();
  EXPECT_GT((got - plain).abs().max().item<double>(), 1e-3);
  EXPECT_TRUE(tensors_near(got, expected, 1e-5));
}

TEST(ClassifierGuideTest, SamplesOfEverySamplerGetTheClassThatWasAskedFor) {
  const at::NoGradGuard no_grad;
  const Pipeline model = unconditional_model();
  const Pipeline classifier = classifier_model();
  const Tensor labels = labels_of({0, 1, 2, 0, 1, 2});
  const auto likelihood = [&](SamplerKind kind, double scale) {
    ImageRequest request{.seed = 1, .num_images = 6, .batch_size = 4};
    request.classifier = {.pipeline = &classifier, .scale = scale, .class_labels = labels};
    const SamplerOptions options{.kind = kind, .steps = 10};
    const Tensor images = sample_images(model, options, request);
    const Tensor t = at::zeros({6}, at::kLong);
    return log_probability(classifier, images, t, labels).mean().item<double>();
  };
  for (const SamplerKind kind : {SamplerKind::kDdpm, SamplerKind::kDdim, SamplerKind::kDpmpp2m}) {
    const double plain = likelihood(kind, 0);
    const double guided = likelihood(kind, 10);
    EXPECT_GT(guided, plain) << enum_word(kind);
    EXPECT_GT(likelihood(kind, 100), std::max(guided, plain + 0.05)) << enum_word(kind);
  }
}

TEST(ClassifierGuideTest, WorksBesideGuidanceByTheNullClass) {
  at::manual_seed(0);
  ModelFolder folder = small_model(/*num_classes=*/3);
  folder.extras.null_class = 2;
  const Pipeline model = opened(folder, 5);
  const Pipeline classifier = classifier_model({"a", "b"});
  const Tensor labels = labels_of({1, 0});
  const Tensor t = labels_of({3, 40});
  const Tensor x = at::randn({2, 1, 8, 8});
  const auto answer = [&](double guidance, double scale) {
    Conditioning conditioning{.class_labels = labels};
    conditioning.guidance.scale = guidance;
    if (scale > 0) conditioning.classifier = {&classifier, scale, labels};
    return make_denoiser(model, conditioning).denoise(x, t).detach();
  };
  EXPECT_TRUE(tensors_near(answer(3, 2) - answer(3, 0), answer(1, 2) - answer(1, 0), 1e-5));
  EXPECT_FALSE(tensors_near(answer(3, 2), answer(3, 0), 1e-3));
}

TEST(ClassifierGuideTest, ClassesAreMatchedByNameOrForWantOfNamesByNumber) {
  ModelFolder model = small_model(3);
  model.extras.class_names = {"bag", "boot", "shirt"};
  const Pipeline classifier = classifier_model({"boot", "coat", "shirt", "bag"});
  EXPECT_TRUE(at::equal(classifier_labels(model, classifier.folder, labels_of({0, 1, 2, 0})),
                        labels_of({3, 0, 2, 3})));
  model.extras.class_names[1] = "sock";
  EXPECT_THAT([&] { classifier_labels(model, classifier.folder, labels_of({1})); },
              ThrowsMessage<Error>(HasSubstr("without 'sock'")));
  model.extras.class_names.clear();
  EXPECT_THAT([&] { classifier_labels(model, classifier.folder, labels_of({1})); },
              ThrowsMessage<Error>(HasSubstr("3 classes, got 4")));
  const Pipeline three = classifier_model();
  EXPECT_TRUE(
      at::equal(classifier_labels(model, three.folder, labels_of({2, 1})), labels_of({2, 1})));
  model.extras.null_class = 2;
  const Pipeline two = classifier_model({"boot", "bag"});
  EXPECT_THAT([&] { classifier_labels(model, two.folder, labels_of({2})); },
              ThrowsMessage<Error>(HasSubstr("got label 2 of 2 classes")));
}

TEST(ClassifierGuideTest, WhatDoesNotFitIsRefused) {
  const Pipeline model = unconditional_model();
  const auto with = [&](const Pipeline& classifier, std::vector<int64_t> labels) {
    return [&model, &classifier, labels] {
      make_denoiser(model, {.classifier = {&classifier, 1.0, labels_of(labels)}});
    };
  };
  Pipeline classifier = classifier_model();
  EXPECT_NO_THROW(with(classifier, {0, 2})());
  EXPECT_THAT(with(classifier, {0, 3}), ThrowsMessage<Error>(HasSubstr("one of its 3 classes")));
  EXPECT_THAT(with(model, {0}), ThrowsMessage<Error>(HasSubstr("got a model of kind unet2d")));
  EXPECT_THAT(
      [&] {
        make_denoiser(model, {.classifier = {&classifier, 1.0, {}}});
      },
      ThrowsMessage<Error>(HasSubstr("for each image one of its 3 classes")));
  classifier.folder.extras.image_size = 16;
  EXPECT_THAT(with(classifier, {0}),
              ThrowsMessage<Error>(HasSubstr("classifier: expected a model of images")));
  classifier = classifier_model();
  classifier.folder.diffusion.schedule = ScheduleKind::kLinear;
  classifier.schedule = make_noise_schedule(classifier.folder.diffusion);
  EXPECT_THAT(with(classifier, {0}),
              ThrowsMessage<Error>(HasSubstr("classifier: expected a model of the same noise")));
  ImageRequest request{.num_images = 2};
  classifier = classifier_model();
  request.classifier = {&classifier, 1.0, labels_of({0})};
  EXPECT_THAT([&] { sample_images(model, SamplerOptions{.steps = 2}, request); },
              ThrowsMessage<Error>(HasSubstr("expected one for each of 2 images")));
}

TEST(ClassifierGuideTest, AClassifierDrawsNoImages) {
  const Pipeline classifier = classifier_model();
  EXPECT_THAT([&] { make_denoise_fn(classifier); },
              ThrowsMessage<Error>(HasSubstr("got a classifier")));
  EXPECT_THAT([&] { make_denoiser(classifier, {}); },
              ThrowsMessage<Error>(HasSubstr("got a classifier")));
  const Pipeline model = unconditional_model();
  Conditioning conditioning{.guide = &classifier};
  conditioning.guidance.scale = 2;
  EXPECT_THAT([&] { make_denoiser(model, conditioning); },
              ThrowsMessage<Error>(HasSubstr("got a classifier")));
  EXPECT_EQ(count_classes(classifier.folder), 3);
}

}  // namespace
}  // namespace ddpm
