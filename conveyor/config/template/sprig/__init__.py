"""The functions of sprig 3.2.3, and `toYaml` and `fromYaml` beside them: which module holds which.

A module is imported when the first of its functions is called. `env` is the engine's; `expandenv` does not exist here.
"""

from __future__ import annotations

from collections.abc import Mapping

_NAMES = {
    "certificates": (
        "buildCustomCert genCA genCAWithKey genPrivateKey genSelfSignedCert genSelfSignedCertWithKey genSignedCert"
        " genSignedCertWithKey"
    ),
    "chance": "getHostByName randAlpha randAlphaNum randAscii randBytes randInt randNumeric shuffle uuidv4",
    "ciphers": "bcrypt decryptAES derivePassword encryptAES htpasswd",
    "dates": (
        "ago date dateInZone dateModify date_in_zone date_modify duration durationRound htmlDate htmlDateInZone"
        " mustDateModify mustToDate must_date_modify now toDate unixEpoch"
    ),
    "defaults": "all any coalesce deepEqual default empty fail kindIs kindOf ternary typeIs typeIsLike typeOf",
    "dicts": (
        "deepCopy dict dig get hasKey keys merge mergeOverwrite mustDeepCopy mustMerge mustMergeOverwrite omit pick pluck"
        " set unset values"
    ),
    "digests": "adler32sum sha1sum sha256sum",
    "encodings": (
        "b32dec b32enc b64dec b64enc fromJson fromYaml mustFromJson mustToJson mustToPrettyJson mustToRawJson toJson"
        " toPrettyJson toRawJson toYaml"
    ),
    "lists": (
        "append chunk compact concat first has initial join last list mustAppend mustChunk mustCompact mustFirst mustHas"
        " mustInitial mustLast mustPrepend mustPush mustRest mustReverse mustSlice mustUniq mustWithout prepend push rest"
        " reverse slice sortAlpha toStrings tuple uniq without"
    ),
    "numbers": (
        "add add1 add1f addf atoi biggest ceil div divf float64 floor int int64 max maxf min minf mod mul mulf round seq sub"
        " subf toDecimal until untilStep"
    ),
    "paths": "base clean dir ext isAbs osBase osClean osDir osExt osIsAbs",
    "regexps": (
        "mustRegexFind mustRegexFindAll mustRegexMatch mustRegexReplaceAll mustRegexReplaceAllLiteral mustRegexSplit"
        " regexFind regexFindAll regexMatch regexQuoteMeta regexReplaceAll regexReplaceAllLiteral regexSplit"
    ),
    "strings": (
        "cat contains hasPrefix hasSuffix hello indent nindent plural quote repeat replace split splitList splitn squote"
        " substr toString trim trimAll trimPrefix trimSuffix trimall trunc"
    ),
    "urls": "urlJoin urlParse",
    "versions": "semver semverCompare",
    "words": (
        "abbrev abbrevboth camelcase initials kebabcase lower nospace snakecase swapcase title untitle upper wrap wrapWith"
    ),
}

MODULES: Mapping[str, str] = {name: f"{__name__}.{module}" for module, names in _NAMES.items() for name in names.split()}
