package codec

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// TestBothFormsReadTheSame checks that JSON and XML, in the variants that
// clients send, decode to the same tree.
func TestBothFormsReadTheSame(t *testing.T) {
	bodies := map[string]string{
		"json":           `{"ProcessProperties":{"@type":"ProcessProperties","ProcessProperty":[{"@type":"","Name":"recordId","Value":"4711"}]},"processId":"p","atomId":"a","on":"true","count":5}`,
		"json, numbers":  "\ufeff" + `{"ProcessProperties":{"ProcessProperty":{"Name":"recordId","Value":4711}},"processId":"p","atomId":"a","on":true,"count":["Long",5],"nothing":null}`,
		"xml":            `<ProcessExecutionRequest processId="p" atomId="a" on="true" count="5" xmlns="http://api.platform.boomi.com/"><ProcessProperties><ProcessProperty><Name>recordId</Name><Value>4711</Value></ProcessProperty></ProcessProperties></ProcessExecutionRequest>`,
		"xml, prefixed":  `<?xml version="1.0" encoding="UTF-8"?><bns:R xmlns:bns="http://api.platform.boomi.com/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><bns:processId>p</bns:processId><bns:atomId>a</bns:atomId><bns:on>true</bns:on><bns:count>5</bns:count><bns:ProcessProperties xsi:type="x"><bns:ProcessProperty Name="recordId" Value="4711"/></bns:ProcessProperties></bns:R>`,
		"xml, undefined": `<bns:R processId="p" atomId="a" on="TRUE" count=" 5 "><bns:ProcessProperties><bns:ProcessProperty><!-- one --><bns:Name>recordId</bns:Name><bns:Value><![CDATA[4711]]></bns:Value></bns:ProcessProperty></bns:ProcessProperties></bns:R>`,
	}
	for name, body := range bodies {
		n, err := Decode([]byte(body), Sniff([]byte(body), Plain))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		on, err := n.Bool("on", false)
		count, err2 := n.Int("count", 0)
		p := n.Get("ProcessProperties", "ProcessProperty")
		if n.String("processId") != "p" || n.String("atomId") != "a" || !on || count != 5 || err != nil || err2 != nil ||
			p.String("Name") != "recordId" || p.String("Value") != "4711" {
			t.Errorf("%s: %+v, %v %v", name, n, err, err2)
		}
	}
}

func TestRefusedBodies(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100)
	for name, body := range map[string]string{
		"entity":        `<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>`,
		"external":      `<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>`,
		"unknown":       `<x>&b;</x>`,
		"two roots":     `<x/><y/>`,
		"unfinished":    `<x><y></x>`,
		"latin":         `<?xml version="1.0" encoding="ISO-8859-7"?><x/>`,
		"list":          `[1,2]`,
		"scalar":        `"x"`,
		"two":           `{} {}`,
		"broken":        `{"a":`,
		"deep json":     deep,
		"deep xml":      strings.Repeat("<a>", 100) + strings.Repeat("</a>", 100),
		"many":          `{"a":[` + strings.Repeat("1,", MaxNodes) + `1]}`,
		"many elements": `<x>` + strings.Repeat("<a/>", MaxNodes+1) + `</x>`,
	} {
		if n, err := Decode([]byte(body), Sniff([]byte(body), JSON)); err == nil {
			t.Errorf("%s: read as %+v", name, n)
		} else if name == "deep json" && !errors.Is(err, ErrTooBig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCommentsInText checks that text split by many comments is read in linear
// time.
func TestCommentsInText(t *testing.T) {
	n, err := Decode([]byte("<x>"+strings.Repeat("ab<!-- -->", 200_000)+"</x>"), XML)
	if err != nil || n.Text != strings.Repeat("ab", 200_000) {
		t.Fatalf("got %d bytes, %v, want Text %q and no error", len(n.Text), err, strings.Repeat("ab", 200_000))
	}
}

func TestEncode(t *testing.T) {
	o := &Object{Type: "QueryResult", Fields: []Field{
		{Name: "numberOfResults", Value: 1, Attr: true},
		{Name: "queryToken", Value: ""},
		{Name: "result", Typed: true, Value: []*Object{{Type: "Process", Fields: []Field{
			{Name: "id", Value: "a&\"<b>", Attr: true}, {Name: "notes", Value: "é\x01\x00 \xff"}, {Name: "deleted", Value: false},
			{Name: "executionDuration", Value: Long(12)}, {Name: "at", Value: time.Date(2026, 1, 31, 15, 32, 0, 7e6, time.UTC)},
			{Name: "ms", Value: Millis(time.Date(2026, 1, 31, 15, 32, 0, 7e6, time.UTC))},
			{Name: "tags", Value: []string{"a", "b"}}, {Name: "none", Value: (*Object)(nil)}, {Name: "empty", Value: "", Keep: true},
		}}}},
	}}
	want := map[Format]string{
		JSON: `{"@type":"QueryResult","numberOfResults":1,"result":[{"@type":"Process","id":"a&\"<b>","notes":"é\u0001\u0000 \ufffd","deleted":false,` +
			`"executionDuration":["Long",12],"at":"2026-01-31T15:32:00Z","ms":"2026-01-31T15:32:00.007Z","tags":["a","b"],"empty":""}]}`,
		XML: `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>` + "\n" +
			`<bns:QueryResult xmlns:bns="http://api.platform.boomi.com/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" numberOfResults="1">` +
			`<bns:result xsi:type="bns:Process" id="a&amp;&#34;&lt;b&gt;"><bns:notes>é` + "\ufffd\ufffd \ufffd" + `</bns:notes><bns:deleted>false</bns:deleted>` +
			`<bns:executionDuration>12</bns:executionDuration><bns:at>2026-01-31T15:32:00Z</bns:at><bns:ms>2026-01-31T15:32:00.007Z</bns:ms><bns:tags>a</bns:tags><bns:tags>b</bns:tags><bns:empty></bns:empty></bns:result></bns:QueryResult>`,
	}
	for f, w := range want {
		if got := strings.TrimSpace(string(Encode(o, f))); got != w {
			t.Errorf("%s:\n%s\nwant\n%s", f.MediaType(), got, w)
		}
		if _, err := Decode(Encode(o, f), f); err != nil {
			t.Errorf("%s does not read what it wrote: %v", f.MediaType(), err)
		}
	}
	if got := string(Encode(&Object{Type: "Error"}, XML)); !strings.HasSuffix(got, `instance"/>`+"\n") {
		t.Errorf("got %q, want text ending with %v", got, `instance"/>`+"\n")
	}
}

func TestFormats(t *testing.T) {
	for _, c := range []struct {
		accept  string
		request Format
		want    Format
	}{
		{"", JSON, JSON}, {"", XML, XML}, {"", Plain, XML}, {"*/*", JSON, JSON},
		{"application/json", XML, JSON}, {"application/xml", JSON, XML}, {"text/xml;q=0.9, application/json", XML, JSON},
		{"application/json;q=0.1, application/xml;q=0.5", JSON, XML}, {"nonsense/;;", JSON, JSON},
	} {
		if got := Accept(c.accept, c.request); got != c.want {
			t.Errorf("%q of %v: %v, want %v", c.accept, c.request, got, c.want)
		}
	}
	for s, want := range map[string]Format{"application/json; charset=UTF-8": JSON, "text/xml": XML, "": XML, "text/plain;charset=utf-8": Plain} {
		if f, ok := Of(s); !ok || f != want {
			t.Errorf("%q: got %v %v, want ok and f %v", s, f, ok, want)
		}
	}
	if _, ok := Of("image/png"); ok {
		t.Error("a picture is a format of the API")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":null}]}`))
	f.Add([]byte(`<a b="c"><d>e</d></a>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if n, err := Decode(body, Sniff(body, JSON)); err == nil && n == nil {
			t.Fatal("neither a node nor an error")
		}
	})
}
