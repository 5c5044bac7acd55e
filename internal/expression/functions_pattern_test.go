package expression

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestPatternFunctions checks the functions that search, pad and format.
func TestPatternFunctions(t *testing.T) {
	for _, c := range [][2]string{
		{`${replaceRegex("a1b22", "[0-9]+", "<$0>")}`, `"a<1>b<22>"`},
		{`${replaceRegex(doc.number, "^([A-Z])-", "$1")}`, `"A4711"`},
		{`${replaceRegex("abc", "", "-")}`, `"-a-b-c-"`},
		{`${replaceRegex("abab", "\\bab", "x")}`, `"xab"`},
		{`${replaceRegex("a", "a", "$$1")}`, `"$1"`},
		{`${replaceRegex("a", "(", "")}`, "lint: invalid regular expression (RE2): missing closing )"},
		{`${replaceRegex("aXa", doc.items[0].sku, "")}`, `"aXa"`},
		{`${[findRegex("INV-4711", "[0-9]+"), findRegex("INV-4711", "INV-([0-9])"), findRegex("a", "b"), findRegex("a", "a|(b)")]}`, `["4711","4",null,null]`},
		{`${[padStart(doc.id, 8, "0"), padStart("ab", 5), padStart("abc", 2), padStart("Ü", 3, "äö"), padEnd("ab", 5, ".-")]}`, `["00004711","   ab","abc","äöÜ","ab.-."]`},
		{`${padStart("a", 3, "")}`, "lint: the characters to extend with are empty: `padStart(\"a\", 3, \"\")`"},
		{`${padStart("a", 999999999)}`, "expression_limit: the expression exceeds 67108864 bytes of memory: `padStart(\"a\", 999999999)`"},
		{`${padStart(doc.items, 3)}`, "expression: a list cannot be converted to text; use json(…) to get JSON text: `padStart(doc.items, 3)`"},
		{`${[formatNumber(1234567.891, "#,##0.00"), formatNumber(-1234.5, "#,##0.00"), formatNumber(0.5, "#.##"), formatNumber(0, "#.##")]}`, `["1,234,567.89","-1,234.50",".5","0"]`},
		{`${[formatNumber(2.345, "0.00"), formatNumber(2.5, "0"), formatNumber(-0.4, "0"), formatNumber(7, "0000"), formatNumber(1.5, "0.0##")]}`, `["2.35","3","0","0007","1.5"]`},
		{`${[formatNumber(0.1234, "0.0%"), formatNumber(1234, "EUR #,##0"), formatNumber(5, "0' #1'"), formatNumber(-5, "0.00;(0.00)")]}`, `["12.3%","EUR 1,234","5 #1","(5.00)"]`},
		{`${formatNumber(doc.big, "#,##0")}`, `"12,345,678,901,234,567,890,123,456,789"`},
		{`${formatNumber(1e50, "0")}`, `"1` + strings.Repeat("0", 50) + `"`},
		{`${formatNumber(1e-50, "0.` + strings.Repeat("#", 50) + `")}`, `"0.` + strings.Repeat("0", 49) + `1"`},
		{`${formatNumber(doc.id, "#.##0,00")}`, "lint: a pattern has `,` between groups and `.` before the decimal places, whatever the result looks like"},
		{`${formatNumber(doc.id, "abc")}`, "lint: the pattern has no digits; write 0 for a digit that is always there and # for one that may be missing"},
		{`${formatNumber(doc.id, "0#")}`, "lint: in a pattern, # stands before the zeros of the integer and after those of the decimal places"},
		{`${formatNumber(doc.id, "0'")}`, "lint: the pattern has a quote without an end"},
		{`${formatNumber(doc.id, "0 0")}`, "lint: the pattern has digits in two places; put other text in single quotes"},
		{`${formatNumber("5", "0")}`, "lint: formatNumber(…) expects a number here, not text"},
		{`${[doc.missing == null, doc.id == null, doc.missing ?? null]}`, `[true,false,null]`},
		{`${merge({a: 1, b: 2}, {b: 3, c: 4}, doc.customer.address)}`, `{"a":1,"b":3,"c":4,"city":"Köln","a.b*c":1}`},
		{`${merge({a: 1}, doc.missing)}`, "expression: expected an object, got nil; add a default with ?? if it may be missing: `merge({a: 1}, doc.missing)`"},
		{`${merge({a: 1}, [1])}`, "lint: merge(…) expects an object here, not a list"},
	} {
		if got := result(c[0]); got != c[1] {
			t.Errorf("%s\n got %s\nwant %s", c[0], got, c[1])
		}
	}
}

// TestDatePatterns checks the Unicode patterns of dates, the alternative to Go's
// layouts.
func TestDatePatterns(t *testing.T) {
	const at = `"2026-02-03T04:05:06.789Z"`
	for _, c := range [][2]string{
		{`${formatDate(` + at + `, "yyyy-MM-dd'T'HH:mm:ssXXX", "Europe/Berlin")}`, `"2026-02-03T05:05:06+01:00"`},
		{`${formatDate(` + at + `, "yyyy-MM-dd'T'HH:mm:ss.SSSXXX")}`, `"2026-02-03T04:05:06.789Z"`},
		{`${formatDate(` + at + `, "d.M.yy h:mm a EEEE, MMMM 'o''clock'")}`, `"3.2.26 4:05 AM Tuesday, February o'clock"`},
		{`${formatDate(` + at + `, "d.M.yy h:mm a EEEE, MMM ''")}`, `"3.2.26 4:05 AM Tuesday, Feb '"`},
		{`${formatDate(` + at + `, "yyyyMMddHHmmssSSS Z xxx X", "America/New_York")}`, `"20260202230506789 -0500 -05:00 -05"`},
		{`${formatDate(` + at + `, "EEE, dd MMM yyyy HH:mm:ss z", "UTC")}`, `"Tue, 03 Feb 2026 04:05:06 UTC"`},
		{`${formatDate(` + at + `, "yyyy-MM-dd'T'00:00:00")}`, `"2026-02-03T00:00:00"`},
		{`${formatDate(` + at + `, "Jan 2, 2006")}`, `"Feb 3, 2026"`},
		{`${formatDate(` + at + `, "20060102")}`, `"20260203"`},
		{`${formatDate(now(), "YYYY-MM-DD")}`, "lint: `YYYY` is the year of the week, which differs from the calendar year around New Year; write yyyy"},
		{`${formatDate(now(), "yyyy-MM-DD")}`, "lint: `DD` is the day of the year; the day of the month is dd"},
		{`${formatDate(now(), "yyyy-MM-ddTHH:mm")}`, "lint: the layout has no field `T`; put text in single quotes, as in yyyy-MM-dd'T'HH:mm:ss"},
		{`${formatDate(now(), "MMMMM")}`, "lint: the layout has no field `MMMMM`; the longest is MMMM"},
		{`${formatDate(now(), "yyyy 'a")}`, "lint: the layout has a quote without an end; write a pattern such as \"yyyy-MM-dd'T'HH:mm:ssXXX\""},
		{`${formatDate(now(), "--")}`, "lint: the layout contains no part of a date; write a pattern such as yyyy-MM-dd HH:mm"},
		{`${formatDate(now(), doc.text)}`, "expression: the layout has no field `q`; put text in single quotes, as in yyyy-MM-dd'T'HH:mm:ss: `formatDate(now(), doc.text)`"},
		{`${parseDate("31.01.2026 09:30", "dd.MM.yyyy HH:mm", "Europe/Berlin")}`, `"2026-01-31T08:30:00.000Z"`},
		{`${parseDate("20260131093005250", "yyyyMMddHHmmssSSS")}`, `"2026-01-31T09:30:05.250Z"`},
		{`${parseDate("1.2.26", "d.M.yy")} ${parseDate("31.12.99", "dd.MM.yy")}`, `"2026-02-01T00:00:00.000Z 1999-12-31T00:00:00.000Z"`},
		{`${parseDate("Tuesday, 3 FEB 2026 12:05 pm", "EEEE, d MMM yyyy h:mm a")}`, `"2026-02-03T12:05:00.000Z"`},
		{`${parseDate("2026-01-31T09:30:00+02:00", "yyyy-MM-dd'T'HH:mm:ssXXX")} ${parseDate("2026-01-31T09:30:00Z", "yyyy-MM-dd'T'HH:mm:ssXXX")}`, `"2026-01-31T07:30:00.000Z 2026-01-31T09:30:00.000Z"`},
		{`${parseDate("2026-01-31 09:30 -0330", "yyyy-MM-dd HH:mm Z")}`, `"2026-01-31T13:00:00.000Z"`},
		{`${parseDate("2026-01-31 09:30 GMT", "yyyy-MM-dd HH:mm z")}`, `"2026-01-31T09:30:00.000Z"`},
		{`${parseDate("2026-01-31 09:30 CST", "yyyy-MM-dd HH:mm z")} ${parseDate("2026-07-31 09:30 CEST", "yyyy-MM-dd HH:mm z", "Europe/Berlin")}`, `"2026-01-31T15:30:00.000Z 2026-07-31T07:30:00.000Z"`},
		{`${parseDate("2026-01-31 09:30 IST", "yyyy-MM-dd HH:mm z")}`, "lint: unknown time zone \"IST\": only UTC, GMT and the American abbreviations of mail are known; write an offset such as +01:00, or pass the zone as the third argument: `parseDate(\"2026-01-31 09:30 IST\", \"yyyy-MM-dd HH:mm z\")`"},
		{`${parseDate("30.02.2026", "dd.MM.yyyy")}`, "lint: the date does not exist: `parseDate(\"30.02.2026\", \"dd.MM.yyyy\")`"},
		{`${parseDate("2026-13-01", "yyyy-MM-dd")}`, "lint: the date does not exist: `parseDate(\"2026-13-01\", \"yyyy-MM-dd\")`"},
		{`${parseDate("31.01.2026", "yyyy-MM-dd")}`, "lint: the text does not match the layout: `yyyy` needs 4 digits: `parseDate(\"31.01.2026\", \"yyyy-MM-dd\")`"},
		{`${parseDate("2026-01-31x", "yyyy-MM-dd")}`, "lint: the text does not match the layout: it is longer: `parseDate(\"2026-01-31x\", \"yyyy-MM-dd\")`"},
		{`${parseDate("2026/01/31", "yyyy-MM-dd")}`, "lint: the text does not match the layout: its fixed text differs: `parseDate(\"2026/01/31\", \"yyyy-MM-dd\")`"},
		{`${parseDate("13:00 PM", "hh:mm a")}`, "lint: the hour is not between 1 and 12: `parseDate(\"13:00 PM\", \"hh:mm a\")`"},
	} {
		if got := advised(c[0]); got != c[1] {
			t.Errorf("%s\n got %s\nwant %s", c[0], got, c[1])
		}
	}
}

// TestDatePatternRoundTrip parses formatted times, for all fields that
// determine a time.
func TestDatePatternRoundTrip(t *testing.T) {
	patterns := []string{"yyyy-MM-dd'T'HH:mm:ss.SSSSSSSSSXXX", "d MMMM yyyy hh:mm:ss a.SSSSSSSSS xx", "EEE yyyyMMddHHmmssSSSSSSSSSxxx"}
	rapid.Check(t, func(r *rapid.T) {
		source := rapid.SampledFrom(patterns).Draw(r, "pattern")
		offset := rapid.IntRange(-14*4, 14*4).Draw(r, "offset") * 900
		at := time.Unix(rapid.Int64Range(0, 250_000_000_000).Draw(r, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(r, "nanos")).In(time.FixedZone("", offset))
		p, err := parseDatePattern(source)
		if err != nil {
			r.Fatal(err)
		}
		text := p.format(at)
		got, err := p.parse(text, time.UTC)
		if err != nil || !got.Equal(at) {
			r.Fatalf("%s: got %v %v, want %v", text, got, err, at)
		}
	})
}

// TestFormatNumberDigits checks that formatting changes no digit.
func TestFormatNumberDigits(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.Int64().Draw(r, "n")
		got := result(fmt.Sprintf("${formatNumber(%d, \"#,##0.000\")}", n))
		want := fmt.Sprintf("\"%d.000\"", n)
		if strings.ReplaceAll(got, ",", "") != want {
			r.Fatalf("got %s, want %s", got, want)
		}
	})
}
