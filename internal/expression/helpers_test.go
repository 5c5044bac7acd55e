package expression

import (
	"strings"
	"testing"
)

// TestHelpers holds what each function gives, and how it refuses.
func TestHelpers(t *testing.T) {
	for _, c := range [][2]string{
		// lists
		{`${[len(doc.items), len(doc), len("Ünlü"), len([]), len({a: 1})]}`, `[3,11,4,0,1]`},
		{`${len(doc.missing)}`, "expression: len(…) takes a value here, not nil; give another value with ?? where it may be missing: `len(doc.missing)`"},
		{`${len(doc.id)}`, "expression: len(…) takes a list, an object or a text, not a number: `len(doc.id)`"},
		{`${[first(doc.items).sku, last(doc.items).sku, first([]), last([])]}`, `["x1","x3",null,null]`},
		{`${[take([1, 2, 3], 2), take([1], 5), take([1], 0)]}`, `[[1,2],[1],[]]`},
		{`${take(doc.items, -1)}`, "expression: take(…) takes zero or more elements: `take(doc.items, -1)`"},
		{`${reverse([1, "a", nil])}`, `[null,"a",1]`},
		{`${concat([1], [], [2, 3])}`, `[1,2,3]`},
		{`${concat([1], doc.id)}`, "expression: a list is needed, but this is a number: `concat([1], doc.id)`"},
		{`${flatten([1, [2, [3, []]], doc.customer.tags])}`, `[1,2,3,"a","b"]`},
		{`${uniq([1, 1.0, "1", {a: 1, b: [2]}, {b: [2.0], a: 1}, nil, nil])}`, `[1,"1",{"a":1,"b":[2]},null]`},
		{`${sort([3, 1.5, 2])}`, `[1.5,2,3]`},
		{`${sort(["b", "a", "B"], "desc")}`, `["b","a","B"]`},
		{`${sort([1, "a"])}`, "lint: a text and a number have no order; number(…) reads a number from text: `sort([1, \"a\"])`"},
		{`${sort([1], "down")}`, "lint: the order must be \"asc\" or \"desc\": `sort([1], \"down\")`"},
		{`${[list(nil), list(1), list([1]), list({a: 1})]}`, `[[],[1],[1],[{"a":1}]]`},
		{`${keys(doc.customer)}`, `["id","name","tags","address"]`},
		{`${values({b: 1, a: [2]})}`, `[1,[2]]`},
		{`${toPairs({b: 1, a: 2}) | reverse() | fromPairs()}`, `{"a":2,"b":1}`},
		{`${fromPairs([["a", 1], ["b"]])}`, "lint: element 1 is not [key, value]: `fromPairs([[\"a\", 1], [\"b\"]])`"},
		{`${fromPairs([[nil, 1]])}`, "lint: the key of element 0 must be text, not nil: `fromPairs([[nil, 1]])`"},
		{`${[get(doc, "id"), get(doc.items, 0).sku, get(doc, "nope"), get(doc.missing, "x")]}`, `[4711,"x1",null,null]`},
		// text
		{`${upper("größe") + lower("ÄB")}`, `"GRÖßEäb"`},
		{`${[trim("  a "), trim("xxaxx", "x"), trimPrefix("abc", "a"), trimSuffix("abc", "c")]}`, `["a","a","bc","ab"]`},
		{`${[hasPrefix("abc", "ab"), hasSuffix("abc", "ab")]}`, `[true,false]`},
		{`${[split("a,b,c", ","), split("a,b,c", ",", 2), splitAfter("a,b", ","), split("äb", "")]}`, `[["a","b","c"],["a","b,c"],["a,","b"],["ä","b"]]`},
		{`${split("a", "b", 0)}`, "lint: a text is split into one part at least: `split(\"a\", \"b\", 0)`"},
		{`${join([1, "a", true], "-") + join(["x", "y"])}`, `"1-a-truexy"`},
		{`${join([1, nil])}`, "lint: element 1 of join(…): nil cannot become text; give another value with ?? where it may be missing: `join([1, nil])`"},
		{`${replace("aaa", "a", "bc") + replace("aaa", "a", "", 2)}`, `"bcbcbca"`},
		{`${repeat("ab", 3) + repeat("x", 0)}`, `"ababab"`},
		{`${repeat("x", -1)}`, "lint: a text is repeated zero times or more: `repeat(\"x\", -1)`"},
		{`${[indexOf("äöü", "ü"), lastIndexOf("abab", "b"), indexOf("a", "b")]}`, `[2,3,-1]`},
		{`${upper(doc.id)}`, "expression: a text is needed, but this is a number; string(…) makes text of it: `upper(doc.id)`"},
		// numbers
		{`${[abs(-3), abs(2.5), floor(-1.5), ceil(-1.5), ceil(1.01), floor(7)]}`, `[3,2.5,-2,-1,2,7]`},
		{`${[round(0.5), round(1.5), round(-0.5), round(2.345, 2), round(1250, -2), round(1, 5)]}`, `[1,2,-1,2.35,1300,1]`},
		{`${[floor(1.239, 2), ceil(1.231, 2)]}`, `[1.23,1.24]`},
		{`${[min(3, 1.5, 2), max([3, 1]), min([]), mean([1, 2, 4]), median([3, 1, 2]), median([1, 2])]}`, `[1.5,3,null,2.333333333333333333333333333333333,2,1.5]`},
		{`${max(1, "a")}`, "lint: a number is needed, but this is a text; number(…) reads a number from text: `max(1, \"a\")`"},
		{`${mean([])}`, "lint: an empty list has no mean: `mean([])`"},
		{`${[number(" 007.50 "), number("+5"), number(".5"), number("1e3"), number(doc.total), float("2.")]}`, `[7.50,5,0.5,1e3,59.90,2]`},
		{`${number("1,5")}`, "lint: the text is not a number such as -12.50: `number(\"1,5\")`"},
		{`${number("")}`, "lint: the text is not a number such as -12.50: `number(\"\")`"},
		{`${number("NaN")}`, "lint: the text is not a number such as -12.50: `number(\"NaN\")`"},
		{`${number(doc.paid)}`, "expression: a number is read from text, not from a boolean: `number(doc.paid)`"},
		{`${[int("42"), int(-3.9), int("1e3"), int(doc.big)]}`, `[42,-3,1000,12345678901234567890123456789]`},
		{`${[string(1.50), string(true), string("a"), string([1, {a: nil}])]}`, `["1.50","true","a","[1,{\"a\":null}]"]`},
		{`${string(doc.note)}`, "expression: string(…) takes a value here, not nil; give another value with ?? where it may be missing: `string(doc.note)`"},
		{`${[bool("true"), bool(false)]}`, `[true,false]`},
		{`${bool("yes")}`, "lint: a boolean is read from the texts \"true\" and \"false\": `bool(\"yes\")`"},
		{`${map([nil, true, 1, "a", [], {}], type(#)) | join(" ")}`, `"null boolean number text list object"`},
		// encodings
		{`${json("{\"b\": 1.10, \"a\": [null]}")}`, `{"b": 1.10, "a": [null]}`},
		{`${json("{\"b\": 1.10}").b}`, `1.10`},
		{`${json("{\"a\":1,\"a\":2}")}`, "lint: the text is not valid JSON at line 1, column 8: `json(\"{\\\"a\\\":1,\\\"a\\\":2}\")`"},
		{`${json([1, "a"])} ${json(doc.customer.tags)}`, `"[1,\"a\"] [\"a\", \"b\"]"`},
		{`${json(doc.id)}`, "expression: json(…) reads a text, or writes a list or an object, not a number; tojson(…) writes anything: `json(doc.id)`"},
		{`${[tojson(nil), tojson("a\"b"), tojson({a: 1.0}), toJSON(doc.total)]}`, `["null","\"a\\\"b\"","{\"a\":1.0}","59.90"]`},
		{`${xml("<order id='1'><line>a</line><line>b</line></order>").order}`, `{"@id":"1","line":["a","b"]}`},
		{`${xml("<a><b></a>")}`, "lint: the text is not valid XML at line 1, column 11: `xml(\"<a><b></a>\")`"},
		{`${xml("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>")}`, "lint: the text is not valid XML at line 1, column 1: `xml(\"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>\")`"},
		{"${csv(`a;b` + \"\\n\" + `1;2`, true, \";\")}", `[{"a":"1","b":"2"}]`},
		{`${csv("1,2\n3,4", false)}`, `[["1","2"],["3","4"]]`},
		{`${csv("a", true, ";;")}`, "lint: a delimiter is one character: `csv(\"a\", true, \";;\")`"},
		{`${[base64("Grüße"), unbase64("R3LDvMOfZQ=="), unbase64("R3LDvMOfZQ"), unbase64("Pz8_")]}`, `["R3LDvMOfZQ==","Grüße","Grüße","???"]`},
		{`${unbase64("/w==")}`, "lint: what the Base64 stands for is not text (UTF-8): `unbase64(\"/w==\")`"},
		{`${unbase64("!")}`, "lint: the text is not Base64: `unbase64(\"!\")`"},
		{`${urlencode("a b/ü~") + urlencode(1)}`, `"a%20b%2F%C3%BC~1"`},
		{`${sha256("")}`, `"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"`},
		{`${hmac("key", "The quick brown fox jumps over the lazy dog")}`, `"f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"`},
		{`${hmac("key", "The quick brown fox jumps over the lazy dog", "sha1")}`, `"de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9"`},
		{`${hmac("k", "t", "md5")}`, "lint: the algorithm must be sha256, sha1, sha384 or sha512: `hmac(\"k\", \"t\", \"md5\")`"},
		{`${[uuid(), uuid()]}`, `["flow.yaml:3:11#1/0","flow.yaml:3:11#2/0"]`},
		{`${map(1..2, uuid())}`, `["flow.yaml:3:11#1/0","flow.yaml:3:11#1/1"]`},
		{`${callback("paid")}`, "expression: callback(…) cannot be used here: `callback(\"paid\")`"},
		// dates
		{`${now()}`, `"2026-03-01T11:30:15.123Z"`},
		{`${date("2026-01-31")}`, `"2026-01-31T00:00:00.000Z"`},
		{`${date("2026-01-31T10:00:00+02:00")}`, `"2026-01-31T08:00:00.000Z"`},
		{`${date(1767225600)} ${date(1767225600.5)}`, `"2026-01-01T00:00:00.000Z 2026-01-01T00:00:00.500Z"`},
		{`${date("31.01.2026 09:30", "02.01.2006 15:04", "Europe/Berlin")}`, `"2026-01-31T08:30:00.000Z"`},
		{`${date("31.01.2026", "dd.MM.yyyy")}`, "lint: the layout shows no part of a date: write it as 2006-01-02 15:04:05 would look: `date(\"31.01.2026\", \"dd.MM.yyyy\")`"},
		{`${date("2026-02-30")}`, "lint: argument 1 is not a date such as 2026-01-31 or 2026-01-31T09:30:00Z; date(text, layout) reads other forms: `date(\"2026-02-30\")`"},
		{`${date("2026-01-31", nil, "Mars/Olympus")}`, `lint: there is no zone "Mars/Olympus"`},
		{`${date("2026-01-31", nil, "Local")}`, `lint: there is no zone "Local"`},
		{`${date("2026-01-31", nil, "../../etc/passwd")}`, `lint: there is no zone "../../etc/passwd"`},
		{`${date("2026-01-31", nil, doc.zone)}`, `lint: a zone cannot be computed`},
		{`${formatDate("2026-07-01T12:00:00Z", "02.01.2006 15:04 MST", "Europe/Berlin")}`, `"01.07.2026 14:00 CEST"`},
		{`${formatDate("2026-07-01T23:30:00+02:00", "2006-01-02")}`, `"2026-07-01"`},
		{`${addDuration("2026-02-28T12:00:00Z", "1d12h30m")}`, `"2026-03-02T00:30:00.000Z"`},
		{`${addDuration(now(), "-90s") < now()}`, `true`},
		{`${addDuration(now(), "1 day")}`, "expression: the duration must be written like \"36h\", \"-1d12h\" or \"2w\": `addDuration(now(), \"1 day\")`"},
		{`${addDuration(now(), "999999999w")}`, "expression: the duration must be written like \"36h\", \"-1d12h\" or \"2w\": `addDuration(now(), \"999999999w\")`"},
		{`${addMonths("2026-01-31", 1)} ${addMonths("2024-02-29", 12)} ${addMonths("2026-03-31", -1)}`, `"2026-02-28T00:00:00.000Z 2025-02-28T00:00:00.000Z 2026-02-28T00:00:00.000Z"`},
		{`${addMonths("2026-01-31", 200000)}`, "lint: the date is beyond the years 0 to 9999: `addMonths(\"2026-01-31\", 200000)`"},
		{`${[dateDiff("2026-01-02", "2026-01-01"), dateDiff("2026-01-02", "2026-01-01", "days"), dateDiff("2026-01-01", "2026-01-01T12:00:00Z", "days")]}`, `[86400,1,-0.5]`},
		{`${unix("2026-01-01")}`, `1767225600`},
	} {
		if got := result(c[0]); got != c[1] {
			t.Errorf("%s\n got %s\nwant %s", c[0], got, c[1])
		}
	}
}

// TestHelpersAreDocumented keeps the reference whole.
func TestHelpersAreDocumented(t *testing.T) {
	seen := ""
	for _, h := range Helpers() {
		if h.Doc == "" || !strings.HasPrefix(h.Usage, h.Name+"(") || h.Name <= seen {
			t.Errorf("%+v", h)
		}
		seen = h.Name
		if h.call == nil && predicates[h.Name].compile == nil && h.Name != "sum" {
			t.Errorf("%s does nothing", h.Name)
		}
	}
	for name := range predicates {
		if helpers[name] == nil {
			t.Errorf("%s is not documented", name)
		}
	}
}
