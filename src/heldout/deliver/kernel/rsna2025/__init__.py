"""The inference server of RSNA Intracranial Aneurysm Detection 2025: gateway, hidden set, and a stand-in of both."""
