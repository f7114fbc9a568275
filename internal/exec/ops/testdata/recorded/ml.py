"""Records operators of ai.onnx.ml: ml.tar.gz."""

import numpy as np
from onnx import helper

from recorder import Random, Set, dims_of, dtype, f32

S = Set("ml.tar.gz")
R = Random(11)


def case(name, op, feeds, version=3, rtol=1e-5, outputs="y", **attrs):
    n = helper.make_node(op, list(feeds), list(outputs), domain="ai.onnx.ml", **attrs)
    n.name = "n_y"
    g = helper.make_graph([n], name, [helper.make_tensor_value_info(k, dtype(v), dims_of(v)) for k, v in feeds.items()],
                          [helper.make_empty_tensor_value_info(o) for o in outputs])
    m = helper.make_model(g, opset_imports=[helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", version)], ir_version=8)
    S.record(name, m, feeds, rtol=rtol)


def features():
    x = R.f(4, 3)
    for tag, v in (("f", x), ("d", x.astype(np.float64)), ("i", R.ints(-5, 6, 4, 3))):
        case("scaler_" + tag, "Scaler", {"x": v}, offset=[0.5, -1.0, 2.0], scale=[2.0, 0.1, -1.0])
        case("scaler_one_" + tag, "Scaler", {"x": v}, offset=[0.5], scale=[2.0])
        for norm in ("MAX", "L1", "L2"):
            case("normalizer_%s_%s" % (norm.lower(), tag), "Normalizer", {"x": np.abs(v) + 1 if norm == "MAX" else v}, norm=norm)
    case("binarizer", "Binarizer", {"x": x}, threshold=0.25)
    for post in ("NONE", "SOFTMAX", "LOGISTIC"):
        case("linearregressor_" + post.lower(), "LinearRegressor", {"x": x}, targets=2, coefficients=R.f(6).tolist(), intercepts=[0.5, -0.25],
             post_transform=post)
    gaps = f32([[1, np.nan, 3], [np.nan, 5, np.nan]])
    case("imputer_nan", "Imputer", {"x": gaps}, imputed_value_floats=[7.0, 8.0, 9.0], replaced_value_float=float("nan"))
    case("imputer_int", "Imputer", {"x": np.array([[1, -1], [-1, 4]], np.int64)}, imputed_value_int64s=[3], replaced_value_int64=-1)
    case("vectorizer", "FeatureVectorizer", {"a": R.f(2, 3), "b": R.f(2, 1)}, inputdimensions=[3, 1])
    case("extractor", "ArrayFeatureExtractor", {"x": R.f(2, 5), "i": np.array([4, 0], np.int64)})


def labels():
    names = np.array([["b", "a"], ["z", "c"]], dtype=object)
    codes = np.array([2, 0, 9], np.int64)
    case("categorymapper_out", "CategoryMapper", {"x": names}, cats_strings=["a", "b", "c"], cats_int64s=[10, 20, 30], default_int64=-7)
    case("categorymapper_back", "CategoryMapper", {"x": codes}, cats_strings=["a", "b", "c"], cats_int64s=[0, 1, 2], default_string="?")
    case("labelencoder_1_out", "LabelEncoder", {"x": names}, version=1, classes_strings=["a", "b", "c"], default_int64=-7)
    case("labelencoder_1_back", "LabelEncoder", {"x": codes}, version=1, classes_strings=["a", "b", "c"], default_string="?")
    case("labelencoder_2_float", "LabelEncoder", {"x": codes}, version=2, keys_int64s=[0, 2], values_floats=[0.5, 2.5], default_float=-1.0)
    case("labelencoder_2_back", "LabelEncoder", {"x": f32([0.5, 3, 2.5])}, version=2, keys_floats=[0.5, 2.5], values_strings=["low", "high"])
    case("onehot_names", "OneHotEncoder", {"x": names}, cats_strings=["a", "b", "c"])
    case("onehot_codes", "OneHotEncoder", {"x": codes}, cats_int64s=[9, 2])
    case("onehot_floats", "OneHotEncoder", {"x": f32([[2, 9], [1, 0]])}, cats_int64s=[9, 2])


def trees():
    x = R.f(6, 3)
    x[2, 0] = np.nan
    nodes = dict(
        nodes_treeids=[0, 0, 0, 0, 0, 1, 1, 1], nodes_nodeids=[0, 1, 2, 3, 4, 0, 1, 2],
        nodes_modes=["BRANCH_LEQ", "LEAF", "BRANCH_GT", "LEAF", "LEAF", "BRANCH_LT", "LEAF", "LEAF"],
        nodes_featureids=[0, 0, 1, 0, 0, 2, 0, 0], nodes_values=[0.1, 0, -0.2, 0, 0, 0.3, 0, 0],
        nodes_truenodeids=[1, 0, 3, 0, 0, 1, 0, 0], nodes_falsenodeids=[2, 0, 4, 0, 0, 2, 0, 0],
        nodes_missing_value_tracks_true=[1, 0, 0, 0, 0, 0, 0, 0], n_targets=2,
        target_treeids=[0, 0, 0, 0, 1, 1], target_nodeids=[1, 3, 3, 4, 1, 2], target_ids=[0, 0, 1, 1, 1, 0], target_weights=[1.0, 2.0, 3.0, -4.0, 5.0, 6.5])
    for how in ("SUM", "AVERAGE", "MIN", "MAX"):
        case("trees_" + how.lower(), "TreeEnsembleRegressor", {"x": x}, aggregate_function=how, **nodes)
    # ONNX Runtime adds the base value only where a leaf votes: let each tree vote for both targets.
    nodes.update(target_treeids=[0, 0, 0, 0, 1, 1, 1, 1], target_nodeids=[1, 3, 3, 4, 1, 1, 2, 2], target_ids=[0, 0, 1, 1, 0, 1, 0, 1],
                 target_weights=[1.0, 2.0, 3.0, -4.0, 5.0, 6.5, 0.5, 0.25])
    case("trees_base", "TreeEnsembleRegressor", {"x": x}, base_values=[10.0, 20.0], **nodes)
    case("trees_softmax", "TreeEnsembleRegressor", {"x": x}, post_transform="SOFTMAX", **nodes)


POSTS = ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO")


def classifiers():
    x = R.f(5, 3)
    for post in POSTS:
        for tag, count, labels in (("one", 1, dict(classlabels_ints=[7, 9])), ("two", 2, dict(classlabels_strings=["no", "yes"])),
                                   ("three", 3, dict(classlabels_ints=[3, 1, 2]))):
            case("linearclassifier_%s_%s" % (tag, post.lower()), "LinearClassifier", {"x": x}, outputs="yz", post_transform=post,
                 coefficients=R.f(3 * count).tolist(), intercepts=R.f(count).tolist(), **labels)


def forest(classes, weights, which=None):
    """Two trees of five and three nodes; the leaves vote for classes."""
    leaves = [(0, 1), (0, 3), (0, 4), (1, 1), (1, 2)]
    votes = [(t, n, k) for t, n in leaves for k in (which or range(classes))]
    return dict(
        nodes_treeids=[0, 0, 0, 0, 0, 1, 1, 1], nodes_nodeids=[0, 1, 2, 3, 4, 0, 1, 2],
        nodes_modes=["BRANCH_LEQ", "LEAF", "BRANCH_GT", "LEAF", "LEAF", "BRANCH_LT", "LEAF", "LEAF"],
        nodes_featureids=[0, 0, 1, 0, 0, 2, 0, 0], nodes_values=[0.1, 0, -0.2, 0, 0, 0.3, 0, 0],
        nodes_truenodeids=[1, 0, 3, 0, 0, 1, 0, 0], nodes_falsenodeids=[2, 0, 4, 0, 0, 2, 0, 0],
        class_treeids=[v[0] for v in votes], class_nodeids=[v[1] for v in votes], class_ids=[v[2] for v in votes],
        class_weights=[float(weights()) for _ in votes])


def tree_classifiers():
    x = R.f(8, 3)
    mixed, positive = lambda: R.r.randn(), lambda: abs(R.r.randn()) / 3
    for post in POSTS:
        for tag, attrs in (("three", dict(classlabels_int64s=[3, 1, 2], **forest(3, mixed))),
                           ("two", dict(classlabels_strings=["no", "yes"], **forest(2, positive))),
                           ("two_mixed", dict(classlabels_strings=["no", "yes"], **forest(2, mixed))),
                           ("binary", dict(classlabels_int64s=[0, 1], **forest(2, positive, [0]))),
                           ("binary_second", dict(classlabels_int64s=[0, 1], **forest(2, positive, [1]))),
                           ("binary_mixed", dict(classlabels_int64s=[5, 6], **forest(2, mixed, [0])))):
            case("treeclassifier_%s_%s" % (tag, post.lower()), "TreeEnsembleClassifier", {"x": x}, outputs="yz", post_transform=post, rtol=1e-4, **attrs)
    case("treeclassifier_base_three", "TreeEnsembleClassifier", {"x": x}, outputs="yz", classlabels_int64s=[3, 1, 2], base_values=[0.5, -0.25, 1.0],
         **forest(3, mixed))
    case("treeclassifier_base_binary", "TreeEnsembleClassifier", {"x": x}, outputs="yz", classlabels_int64s=[0, 1], base_values=[0.125],
         post_transform="LOGISTIC", **forest(2, mixed, [0]))


def machines():
    x = R.f(5, 2)
    for kind in ("LINEAR", "POLY", "RBF", "SIGMOID"):
        base = dict(kernel_type=kind, kernel_params=[0.5, 0.25, 2.0])
        for one in (0, 1):
            case("svmregressor_%s_%d" % (kind.lower(), one), "SVMRegressor", {"x": x}, rtol=1e-4, n_supports=3, one_class=one, rho=[0.3],
                 support_vectors=R.f(6).tolist(), coefficients=R.f(3).tolist(), **base)
        for post in POSTS if kind in ("LINEAR", "RBF") else ("NONE",):
            for per in ([2, 3], [2, 1, 3]):
                for prob in (0, 1):
                    n, k = sum(per), len(per)
                    pairs = k * (k - 1) // 2
                    more = dict(prob_a=(-np.abs(R.f(pairs))).tolist(), prob_b=R.f(pairs).tolist()) if prob else {}
                    case("svmclassifier_%s_%s_%d_%d" % (kind.lower(), post.lower(), k, prob), "SVMClassifier", {"x": x}, outputs="yz", rtol=1e-3,
                         classlabels_ints=list(range(10, 10 + k)), post_transform=post, vectors_per_class=per, support_vectors=R.f(2 * n).tolist(),
                         coefficients=R.f((k - 1) * n).tolist(), rho=R.f(pairs).tolist(), **base, **more)
    for k in (2, 3):
        case("svmclassifier_weights_%d" % k, "SVMClassifier", {"x": x}, outputs="yz", classlabels_ints=list(range(k)), kernel_type="LINEAR",
             kernel_params=[0.5, 0.25, 2.0], coefficients=R.f(2 * k).tolist(), rho=[0.3] * k)
    case("svmregressor_weights", "SVMRegressor", {"x": x}, kernel_type="LINEAR", kernel_params=[0.5, 0.25, 2.0], coefficients=R.f(2).tolist(), rho=[0.3])


for group in (features, labels, trees, classifiers, tree_classifiers, machines):
    group()
S.write()
