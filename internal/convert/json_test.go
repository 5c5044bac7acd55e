package convert

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// TestCheckJSON holds what is refused, with place and pointer.
func TestCheckJSON(t *testing.T) {
	for _, c := range [][2]string{
		{``, "line 1, column 1: there is no JSON value"},
		{" \n ", "line 2, column 2: there is no JSON value"},
		{`null`, ""},
		{` {"a": [1, -0.5e+10, "x", true, false, null, {}, []]} `, ""},
		{`{"a":1,"b":{"a":2}}`, ""},
		{`"\ud83d\ude00\u00e9\n\/"`, ""},
		{`[1] x`, `line 1, column 5: "x" follows the end of the JSON value`},
		{`{}{}`, `line 1, column 3: "{" follows the end of the JSON value`},
		{`{"a":1,"a":2}`, `line 1, column 8: the key "a" is there twice`},
		{`{"a":1,"\u0061":2}`, `line 1, column 8: the key "a" is there twice`},
		{`{"x":[{},{"é":1,"\u00e9":2}]}`, `line 1, column 17 (/x/1): the key "é" is there twice`},
		{`[1,2`, `line 1, column 5 (/1): the JSON ends early, "," or "]" expected`},
		{`{"a":`, `line 1, column 6 (/a): the JSON ends early, a value expected`},
		{`{"a"`, `line 1, column 5 (/a): the JSON ends early, ":" expected`},
		{`{"a`, `line 1, column 2: the text that starts here has no end`},
		{`{"a":tru}`, `line 1, column 6 (/a): "t" where a value is expected`},
		{`{"a":True}`, `line 1, column 6 (/a): "T" where a value is expected`},
		{`{a:1}`, `line 1, column 2: "a" where a key in quotes is expected`},
		{`{'a':1}`, `line 1, column 2: "'" where a key in quotes is expected`},
		{`{"a" 1}`, `line 1, column 6 (/a): "1" where ":" is expected`},
		{`{"a":1,}`, `line 1, column 8: "}" where a key in quotes is expected`},
		{`[1,]`, `line 1, column 4 (/1): "]" where a value is expected`},
		{`[1 2]`, `line 1, column 4 (/0): "2" where "," or "]" is expected`},
		{`01`, `line 1, column 1: a number has no leading zeros`},
		{`-`, `line 1, column 2: the JSON ends early, a digit expected`},
		{`+1`, `line 1, column 1: "+" where a value is expected`},
		{`.5`, `line 1, column 1: "." where a value is expected`},
		{`[1.]`, `line 1, column 4 (/0): "]" where a digit is expected`},
		{`[1e]`, `line 1, column 4 (/0): "]" where a digit is expected`},
		{`NaN`, `line 1, column 1: "N" where a value is expected`},
		{`// c`, `line 1, column 1: "/" where a value is expected`},
		{`"\x"`, `line 1, column 2: there is no escape \x in JSON`},
		{`"\u12g4"`, `line 1, column 2: \u needs four hexadecimal digits`},
		{`"\ud800"`, `line 1, column 2: the surrogate \ud800 has no partner`},
		{`"\udc00\ud800"`, `line 1, column 2: the surrogate \udc00 has no partner`},
		{`"\ud800\u0041"`, `line 1, column 2: the surrogate \ud800 has no partner`},
		{"\"a\nb\"", "line 1, column 3: the control character U+000A must be escaped in a text"},
		{"\"long enough for eight\x01\"", "line 1, column 23: the control character U+0001 must be escaped in a text"},
		{"[\"\xff\"]", "line 1, column 3 (/0): byte 0xff is not UTF-8"},
		{"[\"\xed\xa0\x80\"]", "line 1, column 3 (/0): byte 0xed is not UTF-8"},
		{"\xef\xbb\xbf{}", "line 1, column 1: a byte order mark where a value is expected"},
		{"\xff\xfe{\x00", `line 1, column 1: "\\xff" where a value is expected`},
		{"{}\x00", `line 1, column 3: "\x00" follows the end of the JSON value`},
		{"{\n  \"é\": [1,\n\t2 3]}", `line 3, column 4 (/é/1): "3" where "," or "]" is expected`},
		{`{"a/b":{"c~d":[0,x]}}`, `line 1, column 18 (/a~1b/c~0d/1): "x" where a value is expected`},
		{`{"a":"},{","b":[{"]":1},2,x]}`, `line 1, column 27 (/b/2): "x" where a value is expected`},
	} {
		got := ""
		err := CheckJSON([]byte(c[0]))
		if err != nil {
			got = err.Error()
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Offset > len(c[0]) {
				t.Errorf("%q: %#v", c[0], err)
			}
		}
		if got != c[1] {
			t.Errorf("%q\n got %s\nwant %s", c[0], got, c[1])
		}
	}
}

func TestCheckJSONBounds(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	if err := CheckJSON([]byte(nested(MaxDepth))); err != nil {
		t.Error(err)
	}
	for _, s := range []string{nested(MaxDepth + 1), strings.Repeat("[", 100_000), strings.Repeat(`{"a":`, 100_000)} {
		err := CheckJSON([]byte(s))
		if e, ok := err.(*SyntaxError); !ok || e.Msg != "the JSON is nested deeper than 512 levels" {
			t.Errorf("got %v", err)
		}
	}
	for _, keys := range []int{10, 24, 25, 26, 95, 96, 97, 10_000} {
		var b strings.Builder
		b.WriteString(`{"x":{"x":1}`)
		for i := range keys {
			fmt.Fprintf(&b, `,"k%d":{"k%d":1,"x":2}`, i, i)
		}
		if err := CheckJSON([]byte(b.String() + "}")); err != nil {
			t.Errorf("%d keys: %v", keys, err)
		}
		for _, dup := range []string{"x", "k0", fmt.Sprintf("k%d", keys-1)} {
			if err := CheckJSON([]byte(b.String() + `,"` + dup + `":1}`)); err == nil {
				t.Errorf("%d keys: %s twice is accepted", keys, dup)
			}
		}
	}
	deep := `1`
	for i := range 40 { // more open keys than the checker has room for
		deep = fmt.Sprintf(`{"a%d":1,"b%d":2,"c":%s,"d":3}`, i, i, deep)
	}
	if err := CheckJSON([]byte(deep)); err != nil {
		t.Error(err)
	}
	if err := CheckJSON([]byte(strings.Replace(deep, `"b3"`, `"a3"`, 1))); err == nil {
		t.Error("a key twice is accepted")
	}
}

func TestCheckJSONAllocatesNothing(t *testing.T) {
	text := []byte(order)
	if n := testing.AllocsPerRun(100, func() { _ = CheckJSON(text) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzJSON holds the checker against two others: it is never laxer, and
// stricter only where it says so.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{order, `{"a":[1,2,{"b":null}]}`, `"\ud83d\ude00"`, `[1e5,-0.0]`, "\xff", `{"a":1,"a":2}`, strings.Repeat("[", 600), `{"":{}}`, `["\u0000"]`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := CheckJSON(b)
		if err != nil {
			e := err.(*SyntaxError)
			if e.Line < 1 || e.Col < 1 || e.Offset > len(b) || e.Msg == "" {
				t.Errorf("%q: %#v", b, e)
			}
			return
		}
		if !json.Valid(b) || !gjson.ValidBytes(b) {
			t.Errorf("%q is accepted", b)
		}
		v, err := parse(string(b))
		if err != nil {
			t.Fatal(err)
		}
		var walk func(v value) int
		walk = func(v value) int {
			n := 1
			if k := v.kind(); k != jsonObject && k != jsonArray {
				_ = v.text()
				return n
			}
			if err := v.each(func(_ string, m value) error { n += walk(m); return nil }); err != nil {
				t.Error(err)
			}
			return n
		}
		walk(v)
	})
}
