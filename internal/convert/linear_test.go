package convert

import (
	"context"
	"errors"
	"strings"
	"testing"

	"valence/internal/budget"
)

// Inputs whose output would be quadratic are errors, and no memory is used for
// them.
func TestOutputIsBounded(t *testing.T) {
	long := strings.Repeat("n", 100_000)
	keys := make([]string, 20_000)
	for i := range keys {
		keys[i] = `{"` + name(i) + `":1}`
	}
	for _, test := range []struct {
		name    string
		convert func() ([]byte, error)
	}{
		{"CSV with a long column name", func() ([]byte, error) {
			return CSVToJSON(t.Context(), []byte(long+"\n"+strings.Repeat("x\n", 100_000)), true, ',')
		}},
		{"JSON to CSV, each row with another column", func() ([]byte, error) {
			return JSONToCSV(t.Context(), "["+strings.Join(keys, ",")+"]", true, ',')
		}},
		{"JSON to XML, a list below a long name", func() ([]byte, error) {
			return JSONToXML(t.Context(), `{"r":{"`+long+`":[1`+strings.Repeat(",1", 100_000)+`]}}`, "", nil)
		}},
		{"JSON to a form, a list below a long name", func() ([]byte, error) {
			return JSONToForm(t.Context(), `{"`+long+`":[1`+strings.Repeat(",1", 100_000)+`]}`)
		}},
	} {
		out, err := test.convert()
		var syntax *SyntaxError
		if len(out) > 0 || !errors.As(err, &syntax) || !strings.Contains(syntax.Msg, "64 times as large as the input") {
			t.Errorf("%s: got %d bytes, %v; want an error about the size of the result", test.name, len(out), err)
		}
	}
}

func name(i int) string {
	b := make([]byte, 0, 8)
	for i += 26; i > 0; i /= 26 {
		b = append(b, byte('a'+i%26))
	}
	return string(b)
}

func TestAttributesAreBounded(t *testing.T) {
	attributes := func(n int) []byte {
		var b strings.Builder
		b.WriteString("<!-- <a " + strings.Repeat("a=b ", 2*MaxAttributes) + "--><r><![CDATA[<" + strings.Repeat("=", 2*MaxAttributes) + "]]>\n<e")
		for i := range n {
			b.WriteString(" " + name(i) + `="a=b=c>"`)
		}
		return []byte(b.String() + "/></r>")
	}
	if _, err := XMLToJSON(t.Context(), attributes(MaxAttributes), nil); err != nil {
		t.Errorf("got %v for %d attributes, want nil", err, MaxAttributes)
	}
	want := "line 2, column 1: an element has more than 1000 attributes"
	if _, err := XMLToJSON(t.Context(), attributes(MaxAttributes+1), nil); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestConversionsStopWithTheirContext(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, f := range conversions(1 << 10) {
		if _, err := f(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want %v", name, err, context.Canceled)
		}
	}
}

func TestConversionsReserveTheirMemory(t *testing.T) {
	for name, f := range conversions(64 << 10) {
		small, large := budget.NewPool(256<<10), budget.NewPool(1<<30)
		share := &budget.Share{}
		share.Open(small)
		if _, err := f(budget.With(t.Context(), share)); !budget.Exhausted(err) {
			t.Errorf("%s: got %v, want %v", name, err, budget.ErrTooLarge)
		}
		if n := small.Used(); n != 0 {
			t.Errorf("%s: got %d bytes reserved after a refusal, want 0", name, n)
		}
		share = &budget.Share{}
		share.Open(large)
		if _, err := f(budget.With(t.Context(), share)); err != nil {
			t.Errorf("%s: got %v, want nil", name, err)
		}
		if n := large.Used(); n != 0 {
			t.Errorf("%s: got %d bytes reserved after a conversion, want 0", name, n)
		}
	}
}

// conversions returns the conversions of an ordinary input with n rows.
func conversions(n int) map[string]func(ctx context.Context) ([]byte, error) {
	table := `[{"a":1}` + strings.Repeat(`,{"a":12}`, n) + `]`
	return map[string]func(context.Context) ([]byte, error){
		"XMLToJSON": func(ctx context.Context) ([]byte, error) {
			return XMLToJSON(ctx, []byte("<r>"+strings.Repeat("<a>12</a>", n)+"</r>"), nil)
		},
		"CSVToJSON": func(ctx context.Context) ([]byte, error) {
			return CSVToJSON(ctx, []byte("a,b\n"+strings.Repeat("1,2\n", n)), true, ',')
		},
		"FormToJSON": func(ctx context.Context) ([]byte, error) {
			return FormToJSON(ctx, []byte("a=1"+strings.Repeat("&a=12", n)))
		},
		"JSONToXML": func(ctx context.Context) ([]byte, error) { return JSONToXML(ctx, `{"r":{"row":`+table+`}}`, "", nil) },
		"JSONToCSV": func(ctx context.Context) ([]byte, error) { return JSONToCSV(ctx, table, true, ',') },
		"JSONToForm": func(ctx context.Context) ([]byte, error) {
			return JSONToForm(ctx, `{"some_name":[1`+strings.Repeat(",12", n)+`]}`)
		},
	}
}
