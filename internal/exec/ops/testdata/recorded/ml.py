"""Records operators of ai.onnx.ml: ml.tar.gz."""

import numpy as np
from onnx import helper

from recorder import Random, Set, dims_of, dtype, f32

S = Set("ml.tar.gz")
R = Random(11)


def case(name, op, feeds, version=3, rtol=1e-5, **attrs):
    n = helper.make_node(op, list(feeds), ["y"], domain="ai.onnx.ml", **attrs)
    n.name = "n_y"
    g = helper.make_graph([n], name, [helper.make_tensor_value_info(k, dtype(v), dims_of(v)) for k, v in feeds.items()],
                          [helper.make_empty_tensor_value_info("y")])
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


for group in (features, labels, trees):
    group()
S.write()
