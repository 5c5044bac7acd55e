package expression

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"valence/internal/document"
)

var walkKeys = []string{"a", "b", "aa", "é", "a.b", `q"`, "", "0", "\\", "x\ny"}

// anyJSON generates a value with random white space and escapes.
func anyJSON(t *rapid.T, depth int) string {
	pad := func() string { return rapid.SampledFrom([]string{"", "", " ", "\n\t"}).Draw(t, "space") }
	quoted := func(s string) string {
		if rapid.Bool().Draw(t, "escaped") {
			var out strings.Builder
			for _, r := range s {
				fmt.Fprintf(&out, `\u%04x`, r)
			}
			return `"` + out.String() + `"`
		}
		return string(document.AppendString(nil, s))
	}
	kind := rapid.IntRange(0, 7).Draw(t, "kind")
	if depth == 0 {
		kind %= 5
	}
	switch kind {
	case 0:
		return rapid.SampledFrom([]string{"true", "false", "null"}).Draw(t, "word")
	case 1, 2:
		return rapid.SampledFrom([]string{"0", "-1.50", "12345678901234567890", "1e5", "7"}).Draw(t, "number")
	case 3, 4:
		return quoted(rapid.SampledFrom([]string{"", "text", `br{ack}[et],:"`, "é\\", "a longer text than eight bytes"}).Draw(t, "text"))
	case 5:
		var items []string
		for range rapid.IntRange(0, 4).Draw(t, "elements") {
			items = append(items, pad()+anyJSON(t, depth-1)+pad())
		}
		return "[" + strings.Join(items, ",") + "]"
	}
	var members []string
	for _, k := range rapid.SliceOfNDistinct(rapid.SampledFrom(walkKeys), 0, 6, rapid.ID[string]).Draw(t, "keys") {
		members = append(members, pad()+quoted(k)+pad()+":"+pad()+anyJSON(t, depth-1)+pad())
	}
	return "{" + pad() + strings.Join(members, ",") + "}"
}

// TestWalkFindsWhatDecodingFinds compares reading many paths in one walk, one
// path per walk, and level by level.
func TestWalkFindsWhatDecodingFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := anyJSON(t, 4)
		var sources []string
		for range rapid.IntRange(1, 8).Draw(t, "paths") {
			s := "doc"
			for range rapid.IntRange(0, 4).Draw(t, "steps") {
				if rapid.Bool().Draw(t, "index") {
					s += "?.[" + strconv.Itoa(rapid.IntRange(-1, 4).Draw(t, "n")) + "]"
				} else {
					s += "?.[" + strconv.Quote(rapid.SampledFrom(walkKeys).Draw(t, "key")) + "]"
				}
			}
			sources = append(sources, s)
		}
		decoded := deepDecode(document.Parse(text))
		both, problems := Compile(&Node{Value: "${[" + strings.Join(sources, ", ") + "]}"}, nil)
		if problems != nil {
			t.Fatal(problems)
		}
		fromText, err1 := both.Eval(&Env{Names: names{"doc": document.Parse(text)}})
		fromValue, err2 := both.Eval(&Env{Names: names{"doc": decoded}})
		if (err1 == nil) != (err2 == nil) || err1 != nil && err1.Error() != err2.Error() {
			t.Fatalf("%s\ngot %v\nwant %v", text, err1, err2)
		}
		if err1 == nil && !Equal(fromText, fromValue) {
			t.Fatalf("%s of %s\ngot %s\nwant %s", sources, text, document.AppendJSON(nil, fromText), document.AppendJSON(nil, fromValue))
		}
	})
}

func deepDecode(v any) any {
	switch v := document.Decode(v).(type) {
	case []any:
		for i, e := range v {
			v[i] = deepDecode(e)
		}
		return v
	case *document.Object:
		for i := range v.Len() {
			k, e := v.At(i)
			v.Set(k, deepDecode(e))
		}
		return v
	default:
		return v
	}
}

// TestWalkOfLargeObjects checks that the cost of a path depends only on the
// text before its value.
func TestWalkOfLargeObjects(t *testing.T) {
	var b strings.Builder
	b.WriteString("{")
	for i := range 1000 {
		fmt.Fprintf(&b, `"k%d":{"v":%d},`, i, rand.IntN(10))
	}
	b.WriteString(`"last":{"v":[1,2,{"w":"found"}]}}`)
	e := compile(t, "${doc.last.v[2].w + string(doc.k0.v >= 0)}")
	if v, err := e.Eval(&Env{Names: names{"doc": document.Raw(b.String())}}); err != nil || v != "foundtrue" {
		t.Errorf("got %v %v, want foundtrue", v, err)
	}
}

func TestSuggestions(t *testing.T) {
	for _, c := range [][3]string{
		{"docs", "doc input", "did you mean `doc`?"},
		{"fiter", "filter first", "did you mean `filter`?"},
		{"Upper", "upper lower", "did you mean `upper`?"},
		{"etms", "items env", "did you mean `items`?"},
		{"zzz", "doc input", "available: doc, input"},
		{"zzz", "", ""},
	} {
		if got := didYouMean(c[0], strings.Fields(c[1])); got != c[2] {
			t.Errorf("%s: got %s, want %s", c[0], got, c[2])
		}
	}
}

func TestEqualAndText(t *testing.T) {
	raw, built := document.Raw(`{"a":[1,{"b":"\u00e9"}],"c":null}`), &document.Object{}
	inner := &document.Object{}
	inner.Set("b", "é")
	built.Set("c", nil)
	built.Set("a", []any{document.Number("1.0"), inner})
	if !Equal(raw, built) || !Equal(built, raw) || Equal(raw, document.Raw(`{"a":[1,{"b":"e"}],"c":null}`)) || Equal("1", document.Number("1")) {
		t.Error("Equal: got a wrong result, want raw and built to be equal and the others not")
	}
	for _, c := range []struct {
		v    any
		want string
	}{{"a", "a"}, {document.Number("1.50"), "1.50"}, {true, "true"}, {false, "false"}} {
		if got, err := Text(c.v); got != c.want || err != nil {
			t.Errorf("%v: got %q %v, want %q", c.v, got, err, c.want)
		}
	}
	for _, v := range []any{nil, []any{}, built, raw} {
		if _, err := Text(v); err == nil {
			t.Errorf("%v: got nil, want an error", v)
		}
	}
}
