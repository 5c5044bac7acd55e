package convert

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCSVToJSON(t *testing.T) {
	for _, c := range []struct {
		in        string
		header    bool
		delimiter rune
		want      string
	}{
		{"a,b\n1,2\n", true, 0, `[{"a":"1","b":"2"}]`},
		{"a,b\r\n007, x \r\n", true, 0, `[{"a":"007","b":" x "}]`},
		{"a;b\n\"x;\"\"y\"\"\";\"l1\r\nl2\"", true, ';', `[{"a":"x;\"y\"","b":"l1\r\nl2"}]`},
		{"1\t2\n3\n", false, '\t', `[["1","2"],["3"]]`},
		{"a→b", false, '→', `[["a","b"]]`},
		{"\xef\xbb\xbfa\n1", true, 0, `[{"a":"1"}]`},
		{"\n\na\n\n1\n\n", true, 0, `[{"a":"1"}]`},
		{"a\n\"\"\n", true, 0, `[{"a":""}]`},
		{"a,b\n,\n", true, 0, `[{"a":"","b":""}]`},
		{"a\rb\n", false, 0, `[["a"],["b"]]`},
		{"id,name\r1,b\r2,c\r", true, 0, `[{"id":"1","name":"b"},{"id":"2","name":"c"}]`},
		{"id,name\r1,\"b,\rc\"\r", true, 0, `[{"id":"1","name":"b,\rc"}]`},
		{"\"id\",\"name\"\r\r\"1\",\"b\"", true, 0, `[{"id":"1","name":"b"}]`},
		{"a\r", false, 0, `[["a"]]`},
		{"", true, 0, `[]`},
		{"a,b", true, 0, `[]`},

		{"\"a;b\"\n1;2", true, 0, `[{"a;b":"1;2"}]`},
		{"\"a;b\"\n1;2", false, 0, `[["a;b"],["1;2"]]`},
		{"a\n1;2", false, 0, `[["a"],["1;2"]]`},
		{"a;b\n1;2", false, 0, `line 1, column 2: the first row has a single field, which contains ";": set the delimiter to that, or write the field in quotes`},
		{"a;b\n1;2", true, 0, `line 1, column 2: the header has a single column, whose name contains ";": set the delimiter to that, or write the field in quotes`},
		{"\na\tb\n", true, ';', `line 2, column 2: the header has a single column, whose name contains "\t": set the delimiter to that, or write the field in quotes`},
		{"a\rb\rx\"", false, 0, "line 3, column 2: unexpected quote in an unquoted field: quote the whole field and double the quotes in it"},
		{"a,a\n", true, 0, `line 1, column 1: duplicate column name "a" in the header`},
		{"a,\n1,2", true, 0, "line 1, column 1: column 2 of the header has no name"},
		{"a,b\n1,2\n1\n", true, 0, "line 3, column 1 (/1): the row has 1 fields, but the header has 2"},
		{"a,b\n1,2,3\n", true, 0, "line 2, column 1 (/0): the row has 3 fields, but the header has 2"},
		{"a\n\"x", true, 0, "line 2, column 1: unterminated quoted field"},
		{"a\nx\"y\"", true, 0, "line 2, column 2: unexpected quote in an unquoted field: quote the whole field and double the quotes in it"},
		{"a\n\"x\"y", true, 0, `line 2, column 4: unexpected "y" after a quoted field`},
		{"a\n\xff", true, 0, "line 2, column 1: invalid UTF-8 byte 0xff"},
		{"a", true, '"', `'"' is not a valid CSV delimiter`},
		{"a", true, '\n', `'\n' is not a valid CSV delimiter`},
	} {
		out, err := CSVToJSON(context.Background(), []byte(c.in), c.header, c.delimiter)
		got := string(out)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}

func TestJSONToCSV(t *testing.T) {
	for _, c := range []struct {
		in     string
		header bool
		want   string
	}{
		{`[{"a":1.10,"b":null},{"c":true,"a":"x,y"}]`, true, "a,b,c\r\n1.10,,\r\n\"x,y\",,true\r\n"},
		{`[{"a":1},{"b":2}]`, false, "1,\r\n,2\r\n"},
		{`[["a\"b"," c"],["l1\nl2"],[""],[]]`, false, "\"a\"\"b\",\" c\"\r\n\"l1\nl2\"\r\n\"\"\r\n\r\n"},
		{`[]`, true, ""},

		{`{}`, true, "CSV needs a list of objects or a list of lists"},
		{`[1]`, true, "/0: a CSV row must be an object or a list"},
		{`[[1]]`, true, "/0: with a header the rows must be objects, whose keys name the columns"},
		{`[{"a":1},[1]]`, false, "/1: the rows must be all objects or all lists"},
		{`[{"a":1},{"a":{"b":1}}]`, true, "/1/a: a CSV field cannot contain a list or an object"},
		{`[[1,[2]]]`, false, "/0/1: a CSV field cannot contain a list or an object"},
		{`[{"":1}]`, true, "/0/: a column must have a name"},
		{`[`, true, "line 1, column 2 (/0): unexpected end of JSON, expected a value"},
	} {
		out, err := JSONToCSV(context.Background(), c.in, c.header, ',')
		got := string(out)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s\n got %q\nwant %q", c.in, got, c.want)
		}
	}
}

func TestCSVThereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		delimiter := rapid.SampledFrom([]rune{0, ',', ';', '\t', '|', ' ', 'é'}).Draw(t, "delimiter")
		names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b,c", "d\"e", " f ", "\r\n", "é", "\ufeff"}), 1, 4, rapid.ID[string]).Draw(t, "names")
		rows := make([]string, rapid.IntRange(1, 4).Draw(t, "rows"))
		for i := range rows {
			fields := make([]string, len(names))
			for j, n := range names {
				fields[j] = fmt.Sprintf("%s:%s", appendText(nil, n), appendText(nil, anyText(t, "field")))
			}
			rows[i] = "{" + strings.Join(fields, ",") + "}"
		}
		in := "[" + strings.Join(rows, ",") + "]"
		text, err := JSONToCSV(context.Background(), in, true, delimiter)
		if err != nil {
			t.Fatal(err)
		}
		out, err := CSVToJSON(context.Background(), text, true, delimiter)
		if err != nil || string(out) != in {
			t.Fatalf("through\n%q\ngot %s %v\nwant %s", text, out, err, in)
		}
	})
}

func TestForm(t *testing.T) {
	for _, c := range [][2]string{
		{`a=1&b=x+y&c=%C3%A9%20%26`, `{"a":"1","b":"x y","c":"é &"}`},
		{`b=2&a=1&b=3&&c`, `{"b":["2","3"],"a":"1","c":""}`},
		{`=v&a==`, `{"":"v","a":"="}`},
		{``, `{}`},
		{`a=%zz`, "line 1, column 3: % needs two hexadecimal digits"},
		{`a=1&b=%4`, "line 1, column 7: % needs two hexadecimal digits"},
		{`a=%ff`, "line 1, column 3: the text that starts here is not valid UTF-8"},
	} {
		out, err := FormToJSON(context.Background(), []byte(c[0]))
		got := string(out)
		if err != nil {
			got = err.Error()
		}
		if got != c[1] {
			t.Errorf("%s\n got %s\nwant %s", c[0], got, c[1])
		}
	}
	for _, c := range [][2]string{
		{`{"b":"x y","a":[1.10,true,null],"c":null,"é":"&=%+~"}`, `b=x+y&a=1.10&a=true&%C3%A9=%26%3D%25%2B%7E`},
		{`{}`, ``},
		{`[1]`, "a form must be an object"},
		{`{"a":{"b":1}}`, "/a: a form field must be text or a list of text"},
		{`{"a":[[1]]}`, "/a: a form field must be text or a list of text"},
	} {
		out, err := JSONToForm(context.Background(), c[0])
		got := string(out)
		if err != nil {
			got = err.Error()
		}
		if got != c[1] {
			t.Errorf("%s\n got %s\nwant %s", c[0], got, c[1])
		}
	}
}

func TestFormThereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var members []string
		for _, n := range rapid.SliceOfDistinct(rapid.StringOf(rapid.SampledFrom([]rune("a&=+%é "))), rapid.ID[string]).Draw(t, "names") {
			v := string(appendText(nil, anyText(t, "value")))
			if rapid.Bool().Draw(t, "list") {
				v = "[" + v + "," + v + "]"
			}
			members = append(members, string(appendText(nil, n))+":"+v)
		}
		in := "{" + strings.Join(members, ",") + "}"
		text, err := JSONToForm(context.Background(), in)
		if err != nil {
			t.Fatal(err)
		}
		out, err := FormToJSON(context.Background(), text)
		if err != nil || string(out) != in {
			t.Fatalf("through\n%s\ngot %s %v\nwant %s", text, out, err, in)
		}
	})
}
