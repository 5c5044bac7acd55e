package scaffold

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func wsdlFiles(name string) ([]byte, bool) {
	b, err := os.ReadFile(filepath.Join("../../wsdl/testdata", filepath.FromSlash(name)))
	return b, err == nil
}

// TestWSDL writes both kinds of projects.
func TestWSDL(t *testing.T) {
	for as, want := range map[string][]string{
		AsConnection: {"connection: erp\nconnector: soap\nwsdl: \"erp.wsdl\"\nurl: ${env.ERP_URL}   # http://erp.example/soap\n",
			"process: archive\nsteps:\n  - call: \"erp.Archive\"\n", "mocks: { \"erp.Ping\": { reply: {} } }"},
		AsListener: {"service: { wsdl: \"erp.wsdl\" }", "\"Archive\":\n        - log: ", "\"Add\":\n        - reply: {\"sum\":1}", "request: { operation: \"Ping\" }"},
	} {
		files, notes, err := WSDL(t.Context(), "erp.wsdl", as, wsdlFiles)
		if err != nil {
			t.Fatal(err)
		}
		all := ""
		for _, f := range files {
			all += f.Name + "\n" + f.Text + "\n"
		}
		for _, w := range append(want, "common/base.xsd") {
			if !strings.Contains(all, w) {
				t.Errorf("%s: got %s, want %s in it", as, all, w)
			}
		}
		if as == AsConnection && len(notes) != 2 {
			t.Errorf("got the notes %v, want those of the other ports", notes)
		}
	}
}

func TestWSDLProblems(t *testing.T) {
	for name, want := range map[string]string{"missing.wsdl": "cannot be read", "common/types.xsd": "this is no WSDL"} {
		if _, _, err := WSDL(t.Context(), name, AsConnection, wsdlFiles); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
}
