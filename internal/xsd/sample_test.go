package xsd_test

import (
	"os"
	"path/filepath"
	"testing"

	"valence/internal/wsdl"
)

// TestSample creates a document for each operation of a WSDL.
func TestSample(t *testing.T) {
	d, problems := wsdl.Read("erp.wsdl", func(name string) ([]byte, bool) {
		b, err := os.ReadFile(filepath.Join("../wsdl/testdata", filepath.FromSlash(name)))
		return b, err == nil
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for operation, want := range map[string]string{
		"CreateInvoice": `{"@channel":"text","customer":{"@type":"Person","name":"text"},"number":"INV-111","currency":"EUR","iban":"text","line":[{"sku":"text","qty":1,"price":1}],"note":"text"}`,
		"Archive":       `"text"`,
		"Ping":          `{}`,
		"Add":           `{"a":1,"b":1}`,
	} {
		for _, p := range d.Ports {
			op := p.Operation(operation)
			if op == nil {
				continue
			}
			data, complete := d.Schemas.Sample(t.Context(), op.Input.Body)
			if string(data) != want || !complete {
				t.Errorf("%s: got %s (complete: %v), want %s", operation, data, complete, want)
			}
		}
	}
}
