package convert

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"valence/internal/budget"
)

// TestXMLToJSON checks data views and rejected documents.
func TestXMLToJSON(t *testing.T) {
	for _, c := range [][2]string{
		{`<a/>`, `{"a":""}`},
		{`<a></a>`, `{"a":""}`},
		{`<a> t </a>`, `{"a":" t "}`},
		{`<a x="1">t</a>`, `{"a":{"@x":"1","#text":"t"}}`},
		{`<a x="1" y=''/>`, `{"a":{"@x":"1","@y":""}}`},
		{`<a><b>1</b><c/><b>2</b></a>`, `{"a":{"b":["1","2"],"c":""}}`},
		{"<a>\n  <b>1</b>\n</a>", `{"a":{"b":"1"}}`},
		{`<p>one <b>two</b> three</p>`, `{"p":{"#text":"one  three","b":"two"}}`},
		{`<a><![CDATA[x < y]]> &amp; &#x41;&lt;</a>`, `{"a":"x < y & A<"}`},
		{"<a>\r\nb&#13;</a>", `{"a":"\nb\r"}`},
		{`<a t="&quot;&#10;"/>`, `{"a":{"@t":"\"\n"}}`},
		{"<a t=\"x\ty\r\nz\n\r'\" u='\r\n\r\n'>\t</a>", `{"a":{"@t":"x y z  '","@u":"  ","#text":"\t"}}`},
		{"<a t='\r\n'><b></a>", `line 2, column 10 (/a/b): element <b> closed by </a>`},
		{"<!-- 't='\n --><a><![CDATA[<b t='\n'>]]></a>", `{"a":"<b t='\n'>"}`},
		{`<a t="x`, "line 1, column 8: unexpected EOF"},
		{"<a t=\"x\n", "line 2, column 1: unexpected EOF"},
		{`<a>007.10</a>`, `{"a":"007.10"}`},
		{`<?xml version="1.0" encoding="UTF-8"?><!-- c --><?pi x?><a><!-- d --><b/></a><!-- e -->`, `{"a":{"b":""}}`},
		{"\xef\xbb\xbf<a/>", `{"a":""}`},
		{"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a>é</a>", `{"a":"é"}`}, // text, whatever it declares
		{`<p:a xmlns:p="urn:x" xmlns="urn:y" p:k="1"><p:b/><c/></p:a>`, `{"a":{"@k":"1","b":"","c":""}}`},
		{`<größe>1</größe>`, `{"größe":"1"}`},

		{``, "line 1, column 1: the XML has no element"},
		{`  `, "line 1, column 3: the XML has no element"},
		{`{"a":1}`, "line 1, column 1: text outside the root element"},
		{`<a/>x`, "line 1, column 5: text outside the root element"},
		{`<a/><b/>`, "line 1, column 5: second root element <b>"},
		{`<a>`, "line 1, column 4 (/a): unexpected EOF"},
		{"<a>\n<b></c></a>", "line 2, column 8 (/a/b): element <b> closed by </c>"},
		{`<a x="1" x="2"/>`, `line 1, column 1: <a> has a duplicate attribute "x"`},
		{`<a xmlns:p="u" xmlns:q="v" p:x="1" q:x="2"/>`, `line 1, column 1: <a> has two attributes "x" in different namespaces: map the namespaces to prefixes in the profile`},
		{`<a x=1/>`, "line 1, column 7: unquoted or missing attribute value in element"},
		{`<a>&nbsp;</a>`, "line 1, column 10 (/a): invalid character entity &nbsp;"},
		{"<a>\xff</a>", "line 1, column 5 (/a): invalid UTF-8"},
		{"<a>\x01</a>", "line 1, column 5 (/a): illegal character code U+0001"},
		{`<a>&#1;</a>`, "line 1, column 8 (/a): illegal character code U+0001"},
		{`<a/><?xml version="1.0"?>`, "line 1, column 5: the XML declaration must be at the very beginning"},
		{"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a>\xe9</a>", "line 1, column 48 (/a): invalid UTF-8"},
		{`<!DOCTYPE a><a/>`, "line 1, column 1: document type declarations (<!DOCTYPE) are not allowed"},
		{`<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>`, "line 1, column 1: document type declarations (<!DOCTYPE) are not allowed"},
		{`<!DOCTYPE a [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><a>&b;</a>`, "line 1, column 1: document type declarations (<!DOCTYPE) are not allowed"},
	} {
		out, err := XMLToJSON(context.Background(), []byte(c[0]), nil)
		got := string(out)
		if err != nil {
			got = err.Error()
		} else if err := CheckJSON(out); err != nil {
			t.Errorf("%s: got %s, which is not JSON (%v), want JSON", c[0], out, err)
		}
		if got != c[1] {
			t.Errorf("%q\n got %s\nwant %s", c[0], got, c[1])
		}
	}
}

func TestXMLBounds(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"deep", strings.Repeat("<a>", 100_000), "the XML is nested deeper than 512 levels"},
		{"many", "<a>" + strings.Repeat("<b/>", MaxElements) + "</a>", "the XML has more than 1000000 elements and attributes"},
	} {
		_, err := XMLToJSON(context.Background(), []byte(c.text), nil)
		if e, ok := err.(*SyntaxError); !ok || e.Msg != c.want {
			t.Errorf("%s: got %.200v, want %s", c.name, err, c.want)
		}
	}
	ok := strings.Repeat("<a>", MaxDepth) + strings.Repeat("</a>", MaxDepth)
	if _, err := XMLToJSON(context.Background(), []byte(ok), nil); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}

// TestShape checks lists, types and namespaces from a profile.
func TestShape(t *testing.T) {
	shape := &Shape{
		Namespaces: map[string]string{"urn:order": "o", "urn:none": ""},
		Fields: map[string]*Shape{"o:order": {Fields: map[string]*Shape{
			"@id":  {Type: "integer"},
			"paid": {Type: "boolean"},
			"line": {List: true, Item: &Shape{Fields: map[string]*Shape{"qty": {Type: "number"}, "#text": {Type: "number"}}}},
			"tag":  {List: true},
			"n":    {List: true, Type: "number"},
			"note": {Type: "string"},
			"box":  {Fields: map[string]*Shape{"x": {}}},
		}}},
	}
	for _, c := range [][2]string{
		{`<o:order xmlns:o="urn:order" id="+007"><paid>1</paid><line><qty> 2.50 </qty></line><tag>a</tag><n>-.5</n></o:order>`,
			`{"o:order":{"@id":7,"paid":true,"line":[{"qty":2.50}],"tag":["a"],"n":[-0.5]}}`},
		{`<order xmlns="urn:order"><line xmlns=""><qty>many</qty></line><line xmlns="">3</line></order>`,
			`{"o:order":{"line":[{"qty":"many"},{"#text":3}]}}`},
		{`<o:order xmlns:o="urn:order" id="x"><paid>yes</paid><note>5</note><box/></o:order>`,
			`{"o:order":{"@id":"x","paid":"yes","note":"5","box":{}}}`},
		{`<p:order xmlns:p="urn:none"/>`, `{"order":""}`},
		{`<order xmlns="urn:other"><n>1</n></order>`, `{"order":{"n":"1"}}`},
	} {
		out, err := XMLToJSON(context.Background(), []byte(c[0]), shape)
		if got := string(out); got != c[1] || err != nil {
			t.Errorf("%s\n got %s %v\nwant %s", c[0], got, err, c[1])
		}
	}
	for in, want := range map[string]string{
		"5": "5", "-5.50": "-5.50", "+5": "5", "007": "7", "-00.5": "-0.5", ".5": "0.5", "5.": "5", "0": "0", "1e5": "1e5", "1E+05": "1E+05",
		"": "", ".": "", "+-5": "", "1,5": "", "INF": "", "NaN": "", "0x1": "", "1e": "", "5 5": "", "-": "",
	} {
		if got, ok := XMLNumber(in); ok != (want != "") || ok && got != want {
			t.Errorf("%q: got %q %t, want %q", in, got, ok, want)
		}
	}
}

// TestJSONToXML checks the written XML and rejected values.
func TestJSONToXML(t *testing.T) {
	const head = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"
	for _, c := range [][3]string{
		{`{"a":1.10}`, ``, `<a>1.10</a>`},
		{`{"a":null}`, ``, `<a/>`},
		{`{"a":{}}`, ``, `<a/>`},
		{`{"a":{"b":[]}}`, ``, `<a/>`},
		{`{"a":{"@id":7,"@x":null,"#text":"t","b":[1,true,null,{"c":"d"}]}}`, ``, `<a id="7" x="">t<b>1</b><b>true</b><b/><b><c>d</c></b></a>`},
		{`{"b":1,"a":"<&>\"'\r\n\t"}`, `r`, `<r><b>1</b><a>&lt;&amp;&gt;&quot;'&#13;&#10;&#9;</a></r>`},
		{`"text"`, `r`, `<r>text</r>`},
		{`{"s:E":{"@xmlns:s":"urn:s","s:B":{"@s:k":"v","@xml:lang":"de"}}}`, ``, `<s:E xmlns:s="urn:s"><s:B s:k="v" xml:lang="de"/></s:E>`},

		{`{"p:E":{"p:B":{"@q:k":"v"},"b":1}}`, ``, `<p:E xmlns:p="urn:p" xmlns:q="urn:&lt;q&gt;"><p:B q:k="v"/><b>1</b></p:E>`},
		{`{"E":{"p:B":{"@xmlns:p":"urn:own"}}}`, ``, `<E><p:B xmlns:p="urn:own"/></E>`},
		{`{"p:b":"t"}`, `r`, `<r xmlns:p="urn:p"><p:b>t</p:b></r>`},
		{`"t"`, `p:r`, `<p:r xmlns:p="urn:p">t</p:r>`},
		{`""`, `p:r`, `<p:r xmlns:p="urn:p"/>`},

		{`{"a":1,"b":2}`, ``, "XML needs one root element: an object with one key, or a name for the root"},
		{`[1]`, ``, "XML needs one root element: an object with one key, or a name for the root"},
		{`{}`, ``, "XML needs one root element: an object with one key, or a name for the root"},
		{`[1]`, `r`, "a list cannot be the content of <r>: name its elements, such as { line: [...] }"},
		{`{"a":[1]}`, ``, "/a: a list cannot be the root element of XML"},
		{`{"a":{"b":[[1]]}}`, ``, "/a/b: XML cannot represent a list within a list: put an object between them"},
		{`{"a":{"b c":1}}`, ``, `/a/b c: "b c" is not a valid XML name: a name starts with a letter or _ and contains letters, digits, - . _`},
		{`{"a":{"1":1}}`, ``, `/a/1: "1" is not a valid XML name: a name starts with a letter or _ and contains letters, digits, - . _`},
		{`{"a":{"b><c":1}}`, ``, `/a/b><c: "b><c" is not a valid XML name: a name starts with a letter or _ and contains letters, digits, - . _`},
		{`{"a":{"@x y":1}}`, ``, `/a/@x y: "x y" is not a valid XML name: a name starts with a letter or _ and contains letters, digits, - . _`},
		{`{"a":{"":1}}`, ``, `/a/: "" is not a valid XML name: a name starts with a letter or _ and contains letters, digits, - . _`},
		{`{"a":1}`, `r r`, `"r r" is not a valid XML name: a name starts with a letter or _ and contains letters, digits, - . _`},
		{`{"a":{"x:b":1}}`, ``, `/a/x:b: the prefix "x" is not declared: add a member "@xmlns:x" with its namespace, or a profile whose ` + "`namespaces:`" + ` have it`},
		{`{"a":{"b":{"@xmlns:x":"u"},"x:b":1}}`, ``, `/a/x:b: the prefix "x" is not declared: add a member "@xmlns:x" with its namespace, or a profile whose ` + "`namespaces:`" + ` have it`},
		{`{"a":{"@b":{}}}`, ``, "/a/@b: an attribute must be text, not a list or an object"},
		{`{"a":{"#text":[1]}}`, ``, "/a/#text: #text must be text, not a list or an object"},
		{`{"a":{"b":"\u0000"}}`, ``, "/a/b: XML cannot contain the character U+0000"},
		{`{"a":{"@b":"\ufffe"}}`, ``, "/a/@b: XML cannot contain the character U+FFFE"},
		{`{"a":1`, ``, `line 1, column 7 (/a): unexpected end of JSON, expected "," or "}"`},
	} {
		out, err := JSONToXML(context.Background(), c[0], c[1], Namespaces{"p": "urn:p", "q": "urn:<q>"})
		got := strings.TrimSuffix(strings.TrimPrefix(string(out), head), "\n")
		if err != nil {
			got = err.Error()
		}
		if got != c[2] {
			t.Errorf("%s\n got %s\nwant %s", c[0], got, c[2])
		}
	}
}

func anyText(t *rapid.T, label string) string {
	return rapid.StringOf(rapid.SampledFrom([]rune("ab \t\n\r<&>\"'é😀]0,;=%+"))).Draw(t, label)
}

// anyElement generates content that XML can represent: text, or an object with
// attributes, text, children and lists.
func anyElement(t *rapid.T, depth int) string {
	if depth == 0 || rapid.Bool().Draw(t, "text") {
		return string(appendText(nil, anyText(t, "content")))
	}
	var members []string
	names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b-1", "_c", "ß", "d.e"}), 1, 5, rapid.ID[string]).Draw(t, "names")
	attributes := rapid.IntRange(0, len(names)).Draw(t, "attributes")
	for _, n := range names[:attributes] {
		members = append(members, fmt.Sprintf("%q:%s", "@"+n, appendText(nil, anyText(t, "attribute"))))
	}
	if mixed := rapid.Bool().Draw(t, "mixed"); mixed {
		members = append(members, fmt.Sprintf(`"#text":%s`, appendText(nil, "x"+anyText(t, "mixed text"))))
	}
	for _, n := range names[attributes:] {
		child := anyElement(t, depth-1)
		if rapid.Bool().Draw(t, "list") {
			child = "[" + child + "," + anyElement(t, depth-1) + "]"
		}
		members = append(members, fmt.Sprintf("%q:%s", n, child))
	}
	if len(members) == 1 && strings.HasPrefix(members[0], `"#text"`) {
		return members[0][len(`"#text":`):]
	}
	return "{" + strings.Join(members, ",") + "}"
}

func TestXMLThereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := `{"root":` + anyElement(t, 4) + `}`
		text, err := JSONToXML(context.Background(), in, "", nil)
		if err != nil {
			t.Fatalf("%s: got %v, want nil", in, err)
		}
		out, err := XMLToJSON(context.Background(), text, nil)
		if err != nil || string(out) != in {
			t.Fatalf("through\n%s\ngot %s %v\nwant %s", text, out, err, in)
		}
	})
}

// FuzzXML checks that any input results in valid JSON or a positioned error,
// and that the result survives a round trip.
func FuzzXML(f *testing.F) {
	for _, s := range []string{
		`<a x="1">t<b/><b>2</b></a>`, `<?xml version="1.0" encoding="latin1"?><a>` + "\xe9</a>", `<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>`,
		`<p:a xmlns:p="u" p:b="c"><![CDATA[<]]></p:a>`, `<a>&#x10FFFF;&lt;</a>`, `<a`, `<a>` + strings.Repeat("<b>", 600), "\xff\xfe<\x00a\x00", `<a.b-c_d/>`, `<a:b:c/>`, `<:/>`, "<c-\xc4\xc4/>", "<?xml encoding=\"\xb7\"?>",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := XMLToJSON(context.Background(), b, nil)
		if err != nil {
			e, ok := err.(*SyntaxError)
			if !ok || e.Line < 1 || e.Msg == "" || !utf8.ValidString(e.Msg) {
				t.Errorf("%q: got %#v, want a SyntaxError with a position", b, err)
			}
			return
		}
		if err := CheckJSON(out); err != nil {
			t.Fatalf("%q: got %q, which is not JSON (%v), want JSON", b, out, err)
		}
		again, err := JSONToXML(context.Background(), string(out), "", nil)
		if err != nil {
			return // a name that XML 1.0's newer editions do not have
		}
		back, err := XMLToJSON(context.Background(), again, nil)
		if err != nil || string(back) != string(out) {
			t.Errorf("%q through\n%s\ngot %s %v\nwant %s", b, again, back, err, out)
		}
	})
}

// A tree reserves at least the size of its elements.
func TestTreeIsReserved(t *testing.T) {
	many := strings.Repeat("<a/>", 100_000)
	for name, text := range map[string]string{
		"elements":   "<r>" + many + "</r>",
		"attributes": "<r>" + strings.Repeat(`<a b="1" c="2" d="3" e="4"/>`, 50_000) + "</r>",
		"text":       "<r>" + strings.Repeat("<a>0123456789</a>", 50_000) + "</r>",
		"namespaces": "<r>" + strings.Repeat(`<p:a xmlns:p="urn:p" p:b="1"/>`, 50_000) + "</r>",
	} {
		b := []byte(text)
		pool := budget.NewPool(1 << 30)
		var share budget.Share
		share.Open(pool)
		heap := func() int64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		before := heap()
		root, reserved, err := ReserveXMLTree(budget.With(t.Context(), &share), b)
		if err != nil {
			t.Fatal(err)
		}
		if took := heap() - before; pool.Used() < took || int64(reserved) != pool.Used() {
			t.Errorf("%s: got %d bytes reserved for a tree of %d", name, pool.Used(), took)
		}
		runtime.KeepAlive(root)
		runtime.KeepAlive(b)
		if share.Return(reserved); pool.Used() != 0 {
			t.Errorf("%s: got %d bytes reserved after the tree, want 0", name, pool.Used())
		}
		small := budget.NewPool(int64(reserved) / 2)
		var less budget.Share
		less.Open(small)
		if _, _, err := ReserveXMLTree(budget.With(t.Context(), &less), b); !budget.Exhausted(err) || small.Used() != 0 {
			t.Errorf("%s: got %v and %d bytes reserved, want no room and none", name, err, small.Used())
		}
	}
}
