"""Mercado Pago: its adapter of payments, sellers, chargebacks and claims."""
