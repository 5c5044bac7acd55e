package spec

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"valence/internal/fault"
)

type inner struct {
	Name string
	Tags []string
}

type target struct {
	Text     string
	Count    int
	On       bool
	Wait     time.Duration
	Size     int64
	Rate     float64
	Mode     string
	List     []string
	Waits    []time.Duration
	Map      []KV
	Anything any
	Inner    inner
	Maybe    *inner
}

func fields() []Field {
	in := func() []Field {
		return []Field{
			String("name", func(i *inner) *string { return &i.Name }, "A name.").Required(),
			Strings("tags", func(i *inner) *[]string { return &i.Tags }, "Tags.").Enum("a", "b"),
		}
	}
	return []Field{
		String("text", func(t *target) *string { return &t.Text }, "Text.").Or("none"),
		Int("count", func(t *target) *int { return &t.Count }, "A count.").Or(3).Min(1).Max(9),
		Bool("on", func(t *target) *bool { return &t.On }, "A switch."),
		Duration("wait", func(t *target) *time.Duration { return &t.Wait }, "A wait.").Or(time.Minute),
		Size("size", func(t *target) *int64 { return &t.Size }, "A size."),
		Rate("rate", func(t *target) *float64 { return &t.Rate }, "A rate."),
		Enum("mode", func(t *target) *string { return &t.Mode }, "A mode.", "slow", "fast").Later("warp"),
		Strings("list", func(t *target) *[]string { return &t.List }, "A list."),
		Durations("waits", func(t *target) *[]time.Duration { return &t.Waits }, "Waits."),
		StringMap("map", func(t *target) *[]KV { return &t.Map }, "A map."),
		Any("anything", func(t *target) *any { return &t.Anything }, "Anything."),
		Object("inner", func(t *target) *inner { return &t.Inner }, "Nested.", in()[1:]...),
		Optional("maybe", func(t *target) **inner { return &t.Maybe }, "Nested, or nil.", in()...).Short("name"),
		Later("soon", "Not yet."),
	}
}

// decode decodes YAML and returns the positions and codes of its problems.
func decode(t *testing.T, text string, dynamic bool) (*target, []string) {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	var wrong []string
	d := &Decoder{Dynamic: dynamic, Report: func(p *fault.Problem) {
		wrong = append(wrong, fmt.Sprintf("%d:%d %s", p.Line, p.Col, p.Code))
	}}
	var got target
	d.Mapping(doc.Content[0], &Keys{What: "it", Fields: fields(), Target: &got})
	return &got, wrong
}

func TestMapping(t *testing.T) {
	got, wrong := decode(t, `{ text: hello, count: 5, on: true, wait: 1h30m, size: 10MiB, rate: 90/m, mode: fast, list: one,
  waits: [1s, 2d], map: { a: 1, b: [x, true], c: "" }, anything: { a: 1 }, inner: { tags: [a] }, maybe: short }`, false)
	if wrong != nil {
		t.Fatalf("got %v, want nil", wrong)
	}
	got.Anything = nil
	want := &target{Text: "hello", Count: 5, On: true, Wait: 90 * time.Minute, Size: 10 << 20, Rate: 1.5, Mode: "fast", List: []string{"one"},
		Waits: []time.Duration{time.Second, 48 * time.Hour}, Map: []KV{{"a", "1"}, {"b", "x"}, {"b", "true"}, {"c", ""}},
		Inner: inner{Tags: []string{"a"}}, Maybe: &inner{Name: "short"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got, _ := decode(t, "{}", false); got.Text != "none" || got.Count != 3 || got.Wait != time.Minute || got.Maybe != nil {
		t.Errorf("got %+v, want the defaults", got)
	}
}

func TestMappingProblems(t *testing.T) {
	for text, want := range map[string]string{
		"count: 10":                      "1:8 wrong-value",
		"count: 0":                       "1:8 wrong-value",
		"count: 1.5":                     "1:8 wrong-value",
		"count: '5'":                     "1:8 wrong-type",
		"count: 99999999999999999999":    "1:8 wrong-value",
		"count:":                         "1:7 wrong-type",
		"count: null":                    "1:8 wrong-type",
		"text: 5":                        "1:7 wrong-type",
		"text: true":                     "1:7 wrong-type",
		"text: ${doc.x}":                 "1:7 not-fixed",
		"on: yes":                        "1:5 wrong-type",
		"wait: 5":                        "1:7 wrong-type",
		"wait: 5 seconds":                "1:7 wrong-value",
		"size: 10":                       "1:7 wrong-type",
		"size: 10M":                      "1:7 wrong-value",
		"rate: 5":                        "1:7 wrong-type",
		"rate: 5/day":                    "1:7 wrong-value",
		"mode: warp":                     "1:7 not-available",
		"mode: quick":                    "1:7 wrong-value",
		"mode: [slow]":                   "1:7 wrong-type",
		"list: { a: b }":                 "1:7 wrong-type",
		"list: [a, [b]]":                 "1:11 wrong-type",
		"map: [a]":                       "1:6 wrong-type",
		"map: { a: { b: c } }":           "1:11 wrong-type",
		"inner: { tags: [a, c] }":        "1:20 wrong-value",
		"maybe: { tags: [a] }":           "1:8 missing-key",
		"maybe: { name: x, nam: y }":     "1:19 unknown-key",
		"soon: 1":                        "1:1 not-available",
		"txet: a":                        "1:1 unknown-key",
		"[a]":                            "1:1 wrong-type",
		"waits: [1s, soon]":              "1:13 wrong-value",
		"{ count: x, wait: y, nope: 1 }": "1:10 wrong-type 1:19 wrong-value 1:22 unknown-key",
	} {
		if _, wrong := decode(t, text, false); strings.Join(wrong, " ") != want {
			t.Errorf("%s: got %v, want %s", text, wrong, want)
		}
	}
}

// TestDynamic checks that expressions are skipped if values are evaluated later,
// and that everything else is checked.
func TestDynamic(t *testing.T) {
	for text, want := range map[string]string{
		`{ count: "${doc.n}", on: "${doc.b}", wait: "${doc.w}", list: ["${a}", b], map: { a: "${b}" }, mode: "${c}", inner: "${d}", maybe: { name: "${e}" } }`: "",
		`{ list: "${doc.l}", map: "${doc.m}", map2: 1 }`: "1:38 unknown-key",
		"map: { $merge: '${x}' }":                        "",
		"inner: { $when: '${x}', tags: [a] }":            "",
		"count: $${x}":                                   "1:8 wrong-type",
		"maybe: { tags: '${x}' }":                        "1:8 missing-key",
	} {
		if _, wrong := decode(t, text, true); strings.Join(wrong, " ") != want {
			t.Errorf("%s: got %v, want %s", text, wrong, want)
		}
	}
	got, _ := decode(t, `{ text: "a ${b}", mode: "${c}" }`, true)
	if got.Text != "a ${b}" || got.Mode != "${c}" {
		t.Errorf("got %+v, want placeholders for expressions", got)
	}
}

// object is an evaluated object.
type object []pair
type pair struct {
	key   string
	value any
}
type num string

func (o object) Len() int               { return len(o) }
func (o object) At(i int) (string, any) { return o[i].key, o[i].value }
func (o object) Get(k string) (any, bool) {
	for _, p := range o {
		if p.key == k {
			return p.value, true
		}
	}
	return nil, false
}

func TestBind(t *testing.T) {
	var got target
	err := Bind(fields(), &got, object{
		{"text", num("007")}, {"count", "4"}, {"on", "true"}, {"wait", "5s"}, {"size", nil}, {"list", []any{"a", num("1")}},
		{"map", object{{"x", true}, {"y", []any{num("1"), "b"}}}}, {"anything", num("5")}, {"maybe", "n"}, {"inner", object{{"tags", "b"}}},
	})
	want := target{Text: "007", Count: 4, On: true, Wait: 5 * time.Second, List: []string{"a", "1"},
		Map: []KV{{"x", "true"}, {"y", "1"}, {"y", "b"}}, Anything: num("5"), Maybe: &inner{Name: "n"}, Inner: inner{Tags: []string{"b"}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
	err = Bind(fields(), &got, object{{"mode", "s3cret"}, {"wait", "s3cret"}, {"count", num("99")}, {"maybe", object{{"name", nil}}}, {"txt", "x"}, {"text", []any{}}, {"map", object{{"gone", nil}}}})
	const wrong = "`text:` must be a string, not a list; `count:` is out of range; `wait:` is not a duration; `mode:` is not one of slow, fast; " +
		"`map.gone:` is nil; write `${… ?? omit}` to leave it out, or another default with ??; " +
		"`maybe:` needs `name:`; the configuration has no key `txt`"
	if err == nil || err.Error() != wrong {
		t.Errorf("got  %v\nwant %s", err, wrong)
	}
}

func BenchmarkBind(b *testing.B) {
	list := fields()
	o := object{{"text", "x"}, {"count", num("4")}, {"map", object{{"x", "y"}}}}
	b.ReportAllocs()
	for b.Loop() {
		var got target
		if err := Bind(list, &got, o); err != nil {
			b.Fatal(err)
		}
	}
}

// A value of an enumeration that looks like a number needs no quotes in YAML.
func TestEnumOfNumbers(t *testing.T) {
	type versioned struct{ Version string }
	fields := []Field{Enum("version", func(v *versioned) *string { return &v.Version }, "Version.", "5", "3.1.1")}
	for text, want := range map[string]string{"5": "5", "3.1.1": "3.1.1", `"5"`: "5", "4": "", "5.0": ""} {
		var n yaml.Node
		if err := yaml.Unmarshal([]byte("version: "+text), &n); err != nil {
			t.Fatal(err)
		}
		var v versioned
		d := &Decoder{Report: func(*fault.Problem) {}}
		d.Mapping(n.Content[0], &Keys{What: "it", Fields: fields, Target: &v})
		if v.Version != want || (d.Fails() == 0) != (want != "") {
			t.Errorf("version: %s: got %q and %d problems, want %q", text, v.Version, d.Fails(), want)
		}
	}
}
