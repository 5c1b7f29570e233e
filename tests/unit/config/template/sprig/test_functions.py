"""All functions at once: some 5,300 snippets with what a Go program gives for them, and the table that finds the functions.

The program has sprig 3.2.3 with its dependencies in the versions that werf 2.77 has, and yaml.v2 2.4.0 for `toYaml` and
`fromYaml`. The root and the rules for comparing are those of `test_golden`.
"""

from __future__ import annotations

import gzip
import json
import re
from importlib import import_module
from pathlib import Path

import pytest

from conveyor.config.template.api import TemplateError, render
from conveyor.config.template.sprig import MODULES
from tests.unit.config.template.test_golden import SNIPPETS, rendered

CASES = json.loads(gzip.decompress((Path(__file__).parent / "functions.json.gz").read_bytes()))
# Every name of sprig's TxtFuncMap but `env`, which the engine has, and `expandenv`, which there is none of.
SPRIG = (
    "abbrev abbrevboth add add1 add1f addf adler32sum ago all any append atoi b32dec b32enc b64dec b64enc base bcrypt"
    " biggest buildCustomCert camelcase cat ceil chunk clean coalesce compact concat contains date dateInZone dateModify"
    " date_in_zone date_modify decryptAES deepCopy deepEqual default derivePassword dict dig dir div divf duration"
    " durationRound empty encryptAES ext fail first float64 floor fromJson genCA genCAWithKey genPrivateKey"
    " genSelfSignedCert genSelfSignedCertWithKey genSignedCert genSignedCertWithKey get getHostByName has hasKey hasPrefix"
    " hasSuffix hello htmlDate htmlDateInZone htpasswd indent initial initials int int64 isAbs join kebabcase keys kindIs"
    " kindOf last list lower max maxf merge mergeOverwrite min minf mod mul mulf mustAppend mustChunk mustCompact"
    " mustDateModify mustDeepCopy mustFirst mustFromJson mustHas mustInitial mustLast mustMerge mustMergeOverwrite"
    " mustPrepend mustPush mustRegexFind mustRegexFindAll mustRegexMatch mustRegexReplaceAll mustRegexReplaceAllLiteral"
    " mustRegexSplit mustRest mustReverse mustSlice mustToDate mustToJson mustToPrettyJson mustToRawJson mustUniq"
    " mustWithout must_date_modify nindent nospace now omit osBase osClean osDir osExt osIsAbs pick pluck plural prepend"
    " push quote randAlpha randAlphaNum randAscii randBytes randInt randNumeric regexFind regexFindAll regexMatch"
    " regexQuoteMeta regexReplaceAll regexReplaceAllLiteral regexSplit repeat replace rest reverse round semver"
    " semverCompare seq set sha1sum sha256sum shuffle slice snakecase sortAlpha split splitList splitn squote sub subf"
    " substr swapcase ternary title toDate toDecimal toJson toPrettyJson toRawJson toString toStrings trim trimAll"
    " trimPrefix trimSuffix trimall trunc tuple typeIs typeIsLike typeOf uniq unixEpoch unset until untilStep untitle"
    " upper urlJoin urlParse uuidv4 values without wrap wrapWith"
)


def test_every_function_of_sprig_is_there():
    assert sorted(MODULES) == sorted([*SPRIG.split(), "fromYaml", "toYaml"])


@pytest.mark.parametrize("module", sorted(set(MODULES.values())))
def test_the_table_names_what_the_module_holds(module):
    functions = import_module(module).FUNCTIONS
    assert sorted(functions) == sorted(name for name, home in MODULES.items() if home == module)
    assert [name for name, function in functions.items() if function.name != name] == []


@pytest.mark.parametrize("part", range(8))
def test_functions_give_what_go_gives(part):
    wrong = []
    for source, kind, expected in CASES[part::8]:
        result = rendered(source, SNIPPETS["default_data"])
        if result != {"out" if kind == "value" else "error": expected}:
            wrong.append((source, expected, result))
    assert wrong == []


def test_environment_variables_are_not_expanded():
    with pytest.raises(TemplateError, match='function "expandenv" not defined'):
        render('{{expandenv "$HOME"}}', templates={}, root={}, read_environment=lambda name: None)


def test_the_documentation_has_every_function():
    page = (Path(__file__).parents[5] / "docs" / "template-functions.md").read_text()
    assert set(MODULES) - set(re.findall(r"`(\w+)`", page)) == set()
