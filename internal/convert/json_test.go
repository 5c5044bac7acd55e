package convert

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// TestCheckJSON checks the error, position and pointer for invalid JSON.
func TestCheckJSON(t *testing.T) {
	for _, c := range [][2]string{
		{``, "line 1, column 1: the JSON is empty"},
		{" \n ", "line 2, column 2: the JSON is empty"},
		{`null`, ""},
		{` {"a": [1, -0.5e+10, "x", true, false, null, {}, []]} `, ""},
		{`{"a":1,"b":{"a":2}}`, ""},
		{`"\ud83d\ude00\u00e9\n\/"`, ""},
		{`[1] x`, `line 1, column 5: unexpected "x" after the JSON value`},
		{`{}{}`, `line 1, column 3: unexpected "{" after the JSON value`},
		{`{"a":1,"a":2}`, `line 1, column 8: duplicate key "a"`},
		{`{"a":1,"\u0061":2}`, `line 1, column 8: duplicate key "a"`},
		{`{"x":[{},{"é":1,"\u00e9":2}]}`, `line 1, column 17 (/x/1): duplicate key "é"`},
		{`[1,2`, `line 1, column 5 (/1): unexpected end of JSON, expected "," or "]"`},
		{`{"a":`, `line 1, column 6 (/a): unexpected end of JSON, expected a value`},
		{`{"a"`, `line 1, column 5 (/a): unexpected end of JSON, expected ":"`},
		{`{"a`, `line 1, column 2: unterminated string`},
		{`{"a":tru}`, `line 1, column 6 (/a): unexpected "t", expected a value`},
		{`{"a":True}`, `line 1, column 6 (/a): unexpected "T", expected a value`},
		{`{a:1}`, `line 1, column 2: unexpected "a", expected a key in quotes`},
		{`{'a':1}`, `line 1, column 2: unexpected "'", expected a key in quotes`},
		{`{"a" 1}`, `line 1, column 6 (/a): unexpected "1", expected ":"`},
		{`{"a":1,}`, `line 1, column 8: unexpected "}", expected a key in quotes`},
		{`[1,]`, `line 1, column 4 (/1): unexpected "]", expected a value`},
		{`[1 2]`, `line 1, column 4 (/0): unexpected "2", expected "," or "]"`},
		{`01`, `line 1, column 1: a number must not have leading zeros`},
		{`-`, `line 1, column 2: unexpected end of JSON, expected a digit`},
		{`+1`, `line 1, column 1: unexpected "+", expected a value`},
		{`.5`, `line 1, column 1: unexpected ".", expected a value`},
		{`[1.]`, `line 1, column 4 (/0): unexpected "]", expected a digit`},
		{`[1e]`, `line 1, column 4 (/0): unexpected "]", expected a digit`},
		{`NaN`, `line 1, column 1: unexpected "N", expected a value`},
		{`// c`, `line 1, column 1: unexpected "/", expected a value`},
		{`"\x"`, `line 1, column 2: invalid escape \x`},
		{`"\u12g4"`, `line 1, column 2: \u needs four hexadecimal digits`},
		{`"\ud800"`, `line 1, column 2: unpaired surrogate \ud800`},
		{`"\udc00\ud800"`, `line 1, column 2: unpaired surrogate \udc00`},
		{`"\ud800\u0041"`, `line 1, column 2: unpaired surrogate \ud800`},
		{"\"a\nb\"", "line 1, column 3: the control character U+000A must be escaped"},
		{"\"long enough for eight\x01\"", "line 1, column 23: the control character U+0001 must be escaped"},
		{"[\"\xff\"]", "line 1, column 3 (/0): invalid UTF-8 byte 0xff"},
		{"[\"\xed\xa0\x80\"]", "line 1, column 3 (/0): invalid UTF-8 byte 0xed"},
		{"\xef\xbb\xbf{}", "line 1, column 1: unexpected byte order mark, expected a value"},
		{"\xff\xfe{\x00", `line 1, column 1: unexpected "\\xff", expected a value`},
		{"{}\x00", `line 1, column 3: unexpected "\x00" after the JSON value`},
		{"{\n  \"é\": [1,\n\t2 3]}", `line 3, column 4 (/é/1): unexpected "3", expected "," or "]"`},
		{`{"a/b":{"c~d":[0,x]}}`, `line 1, column 18 (/a~1b/c~0d/1): unexpected "x", expected a value`},
		{`{"a":"},{","b":[{"]":1},2,x]}`, `line 1, column 27 (/b/2): unexpected "x", expected a value`},
	} {
		got := ""
		err := CheckJSON([]byte(c[0]))
		if err != nil {
			got = err.Error()
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Offset > len(c[0]) {
				t.Errorf("%q: got %#v, want a SyntaxError within the text", c[0], err)
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
		t.Errorf("%d levels: got %v, want nil", MaxDepth, err)
	}
	for _, s := range []string{nested(MaxDepth + 1), strings.Repeat("[", 100_000), strings.Repeat(`{"a":`, 100_000)} {
		err := CheckJSON([]byte(s))
		if e, ok := err.(*SyntaxError); !ok || e.Msg != "the JSON is nested deeper than 512 levels" {
			t.Errorf("got %v, want too deep nesting", err)
		}
	}
	for _, keys := range []int{10, 24, 25, 26, 95, 96, 97, 10_000} {
		var b strings.Builder
		b.WriteString(`{"x":{"x":1}`)
		for i := range keys {
			fmt.Fprintf(&b, `,"k%d":{"k%d":1,"x":2}`, i, i)
		}
		if err := CheckJSON([]byte(b.String() + "}")); err != nil {
			t.Errorf("%d keys: got %v, want nil", keys, err)
		}
		for _, dup := range []string{"x", "k0", fmt.Sprintf("k%d", keys-1)} {
			if err := CheckJSON([]byte(b.String() + `,"` + dup + `":1}`)); err == nil {
				t.Errorf("%d keys with a second %s: got nil, want an error", keys, dup)
			}
		}
	}
	deep := `1`
	for i := range 40 { // more open keys than the checker has room for
		deep = fmt.Sprintf(`{"a%d":1,"b%d":2,"c":%s,"d":3}`, i, i, deep)
	}
	if err := CheckJSON([]byte(deep)); err != nil {
		t.Errorf("got %v, want nil", err)
	}
	if err := CheckJSON([]byte(strings.Replace(deep, `"b3"`, `"a3"`, 1))); err == nil {
		t.Error("duplicate key: got nil, want an error")
	}
}

func TestCheckJSONAllocatesNothing(t *testing.T) {
	text := []byte(order)
	if n := testing.AllocsPerRun(100, func() { _ = CheckJSON(text) }); n != 0 {
		t.Errorf("allocations: got %v, want 0", n)
	}
}

// FuzzJSON compares CheckJSON with two other parsers: it is never more lenient,
// and stricter only as documented.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{order, `{"a":[1,2,{"b":null}]}`, `"\ud83d\ude00"`, `[1e5,-0.0]`, "\xff", `{"a":1,"a":2}`, strings.Repeat("[", 600), `{"":{}}`, `["\u0000"]`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := CheckJSON(b)
		if err != nil {
			e := err.(*SyntaxError)
			if e.Line < 1 || e.Col < 1 || e.Offset > len(b) || e.Msg == "" {
				t.Errorf("%q: got %#v, want a position within the text", b, e)
			}
			return
		}
		if !json.Valid(b) || !gjson.ValidBytes(b) {
			t.Errorf("%q: got nil, want an error as other parsers report", b)
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
				t.Errorf("got %v, want nil", err)
			}
			return n
		}
		walk(v)
	})
}
