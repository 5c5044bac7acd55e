package operate

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

func TestExecRequest(t *testing.T) {
	for _, c := range []struct {
		args, stdin, want string
	}{
		{"", "", `{}`},
		{`-d {"a":1.10}`, "", `{"document":{"a":1.10}}`},
		{`-d 4711`, "", `{"document":4711}`},
		{`-d -`, `[1,2]`, `{"document":[1,2]}`},
		{`-d <a/> --media-type application/xml`, "", `{"document":"\u003ca/\u003e","media_type":"application/xml"}`},
		{`-d hello --media-type text/plain`, "", `{"document":"hello","media_type":"text/plain"}`},
		{`-d @testdata/order.xml`, "", `{"document":"\u003corder id=\"1\"/\u003e\n","media_type":"application/xml"}`},
		{`--prop a=1 --prop b=x,y --prop c={"d":2} --prop e=`, "", `{"props":{"a":1,"b":"x,y","c":{"d":2},"e":""}}`},
		{`--method GET --param id=4=7 --query tag=a --query tag=b --query e= --header X-Id:1`, "",
			`{"request":{"method":"GET","params":{"id":"4=7"},"query":{"e":[""],"tag":["a","b"]},"headers":{"X-Id":["1"]}}}`},
	} {
		t.Run(c.args, func(t *testing.T) {
			cmd := &ExecCommand{}
			parser, err := kong.New(cmd, kong.Writers(io.Discard, io.Discard))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.Parse(append([]string{"p"}, strings.Fields(c.args)...)); err != nil {
				t.Fatal(err)
			}
			req, err := cmd.request(strings.NewReader(c.stdin))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := json.Marshal(req); err != nil || string(got) != c.want {
				t.Errorf("got %s, %v, want %s", got, err, c.want)
			}
		})
	}
}
